"""Robot episodes to prepared folders and back: readers, pairing, splits, exports, inspection."""
