"""The world: two arms at a table, three tasks, the expert that plays them, and a place for anybody's policy."""
