-- The platform's administration of organisations: lists by plan, and plans that
-- nobody has any more can go.

-- +goose Up
CREATE INDEX organizations_plan ON accounts.organizations (plan, org_id);
GRANT DELETE ON accounts.plans TO aiaas_tenants;
