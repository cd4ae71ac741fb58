"""A stand-in for a mail provider: it takes mails over SMTP and keeps them as files, and delivers none."""
