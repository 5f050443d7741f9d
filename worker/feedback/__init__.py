"""What comes back: reads mailboxes, and turns messages and providers' webhooks into `domain.returned.Report`s.

Nothing in here believes a report. `services.returning` finds the mail that it is about, and `store.reports` acts.
"""

__all__ = ["imap", "mailbox", "maildir", "mbox", "messages", "piped", "seen", "webhooks"]
