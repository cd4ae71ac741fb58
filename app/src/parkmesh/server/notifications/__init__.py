"""Who is told of what happens: routes events to the mails and webhooks of those who want to be told."""
