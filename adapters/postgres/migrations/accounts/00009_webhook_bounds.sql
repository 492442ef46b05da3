-- Bounds of what one organisation's webhooks take from those of the others.

-- +goose Up
-- An answer that takes long holds what all organisations share, also a good one.
ALTER TABLE accounts.webhooks ADD COLUMN slow boolean NOT NULL DEFAULT false; -- the last attempt took long

-- What is under way, whatever waits beside it.
CREATE INDEX webhook_deliveries_leased ON accounts.webhook_deliveries (org_id, webhook_id, leased_until)
  WHERE status = 'pending' AND leased_until IS NOT NULL;
-- What is told to an organisation also while nothing else is.
CREATE INDEX events_parting ON accounts.events (org_id, event_id) WHERE type IN ('organization.suspended', 'organization.closed');
-- What an organisation may ask for so many times an hour.
CREATE INDEX audit_records_webhook ON accounts.audit_records (org_id, action, at) WHERE action IN ('webhook.test', 'webhook.replay');

GRANT UPDATE (slow) ON accounts.webhooks TO aiaas_notifier;
GRANT SELECT (status, legal_hold) ON accounts.organizations TO aiaas_notifier;
