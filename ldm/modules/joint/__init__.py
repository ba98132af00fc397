"""Networks of video and action together."""
