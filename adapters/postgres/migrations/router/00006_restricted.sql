-- Models that are not open to every organisation.

-- +goose Up
ALTER TABLE router.models ADD COLUMN restricted boolean NOT NULL DEFAULT false;
GRANT UPDATE (restricted) ON router.models TO aiaas_router;
