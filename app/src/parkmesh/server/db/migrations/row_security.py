"""The row-level security that most tables begin with. Revisions use it, so what it returns for them stays as it is."""


def protect(*tables: str, server: bool = False) -> str:
    """Return the statements that show a table's rows to their community and to retention alone, and force this on the
    owner too; with ``server`` the servers' workers read all rows, to find where something waits."""
    workers = "CREATE POLICY server ON {table} FOR SELECT USING ((SELECT parkmesh_scope()) = 'server');"
    return "".join(
        f"""
        ALTER TABLE {table} ENABLE ROW LEVEL SECURITY;
        ALTER TABLE {table} FORCE ROW LEVEL SECURITY;
        CREATE POLICY tenant ON {table} USING (community_id = (SELECT parkmesh_community()));
        CREATE POLICY retention ON {table} TO CURRENT_USER USING ((SELECT parkmesh_scope()) = 'retention');
        {workers.format(table=table) if server else ""}
        """
        for table in tables
    )
