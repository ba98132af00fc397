"""Robot episodes to prepared folders; looking at and checking such folders."""
