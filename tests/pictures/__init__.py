"""Mails as mail programs show them: in Chromium, by the rules of each, as pictures to look at and as tests."""
