-- Administrators change how much of a model's load a backend takes.

-- +goose Up
GRANT UPDATE (weight) ON router.backends TO aiaas_router;
