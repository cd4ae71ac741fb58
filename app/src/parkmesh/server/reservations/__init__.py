"""Who may use a space when: assignments, sharing, bookings, visitor passes."""
