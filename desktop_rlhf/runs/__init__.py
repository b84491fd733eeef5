"""What any run takes and says: its spec, its stop token, its events, its seeds."""
