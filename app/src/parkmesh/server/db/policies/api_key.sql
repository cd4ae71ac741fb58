DROP POLICY IF EXISTS itself ON api_key;
CREATE POLICY itself ON api_key FOR SELECT
    USING (token_sha256 = (SELECT parkmesh_api_key_token()));

DROP POLICY IF EXISTS tenant ON api_key;
CREATE POLICY tenant ON api_key
    USING (community_id = (SELECT parkmesh_community()));
