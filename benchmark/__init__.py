"""How fast, against the machine's own floor and against diffusers; nothing imports it."""
