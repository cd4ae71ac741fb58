"""The right to use a space for a time: assignments, sharing, bookings, visitor passes."""
