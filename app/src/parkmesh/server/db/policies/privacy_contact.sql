DROP POLICY IF EXISTS tenant ON privacy_contact;
CREATE POLICY tenant ON privacy_contact
    USING (community_id = (SELECT parkmesh_community()));
