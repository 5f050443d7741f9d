"""The readers of mailboxes against real servers."""
