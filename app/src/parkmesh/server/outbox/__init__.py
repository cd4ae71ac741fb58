"""Messages to people and systems outside: kept in the database, sent by workers."""
