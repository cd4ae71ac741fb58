"""Alembic's entry: run the migrations on the connection that ``parkmesh.server.db.schema`` opened and locked."""

from alembic import context

context.configure(connection=context.config.attributes["connection"], target_metadata=None)
with context.begin_transaction():
    context.run_migrations()
