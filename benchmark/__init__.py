"""How fast: against the machine's own floor and against diffusers. Nothing imports it."""
