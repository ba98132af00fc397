"""Networks of policies: where things are in the pictures, and what to do."""
