"""Settings, logging and start-up. Settings are read once, where a process is put together."""
