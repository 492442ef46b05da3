-- What organisations call their people, why a program is suspended, and keys that go
-- from one owner to another.

-- +goose Up
-- The name that the organisation knows a person by: what one types for an e-mail
-- address is no business of the others who know it.
ALTER TABLE accounts.members ADD COLUMN name text NOT NULL DEFAULT '';
ALTER TABLE accounts.service_accounts ADD COLUMN status_reason text NOT NULL DEFAULT '';

GRANT UPDATE (kind, owner_id) ON accounts.api_keys TO aiaas_accounts;
