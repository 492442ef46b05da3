-- Why a program is suspended, and keys that go from one owner to another.

-- +goose Up
ALTER TABLE accounts.service_accounts ADD COLUMN status_reason text NOT NULL DEFAULT '';

GRANT UPDATE (kind, owner_id) ON accounts.api_keys TO aiaas_accounts;
