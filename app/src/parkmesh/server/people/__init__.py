"""Units, residents, members, invitations, their personal data, and the lists that communities import and export."""
