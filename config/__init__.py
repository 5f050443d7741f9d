"""Settings and logging: read once, where a process is put together."""
