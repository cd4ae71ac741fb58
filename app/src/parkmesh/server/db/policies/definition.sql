DROP POLICY IF EXISTS owner ON definition;
CREATE POLICY owner ON definition TO CURRENT_USER
    USING (true);
