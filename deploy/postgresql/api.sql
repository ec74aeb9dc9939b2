-- The role of the API process (docs/api.md) on PostgreSQL 15 and later. Run it as a superuser or as the tables' owner, after
-- `refreshd db upgrade`, and again after each later one; to run it twice does no harm. `roles.sql` includes it:
--
--   psql --set=api_password=... --dbname=refreshd --file=deploy/postgresql/api.sql
--
--   refreshd_api  reads views without what is sealed; may store a new grant, and write the audit trail; reads keys of the API
--                 and makes none; changes no configuration of an account, and no client

\set ON_ERROR_STOP on
BEGIN;

SELECT 'CREATE ROLE refreshd_api LOGIN' WHERE NOT EXISTS (SELECT FROM pg_roles WHERE rolname = 'refreshd_api') \gexec

-- The server's log shows no password.
SET LOCAL log_statement = 'none';
ALTER ROLE refreshd_api PASSWORD :'api_password';

SELECT format('GRANT CONNECT ON DATABASE %I TO refreshd_api', current_database()) \gexec
GRANT USAGE ON SCHEMA public TO refreshd_api;
SELECT format('REVOKE ALL ON public.%I FROM refreshd_api', tablename) FROM pg_tables WHERE schemaname = 'public' \gexec

-- Views of the tables' names. Of a sealed value they show that there is one, and the id of the key that sealed it.
DROP SCHEMA IF EXISTS refreshd_unsealed CASCADE;
CREATE SCHEMA refreshd_unsealed;
GRANT USAGE ON SCHEMA refreshd_unsealed TO refreshd_api;
SELECT format('CREATE VIEW refreshd_unsealed.%I AS SELECT %s FROM public.%I', table_name,
              string_agg(CASE WHEN column_name LIKE '%\_sealed'
                              THEN format('''v1.'' || split_part(%1$I, ''.'', 2) || ''.'' AS %1$I', column_name)
                              ELSE format('%I', column_name) END, ', ' ORDER BY ordinal_position), table_name)
FROM information_schema.columns
WHERE table_schema = 'public' AND table_name IN (SELECT tablename FROM pg_tables WHERE schemaname = 'public')
GROUP BY table_name \gexec
GRANT SELECT ON ALL TABLES IN SCHEMA refreshd_unsealed TO refreshd_api;

-- The tables themselves: every column that holds nothing sealed is read where rows are written.
SELECT format('GRANT SELECT (%s) ON public.%I TO refreshd_api',
              string_agg(format('%I', column_name), ', ') FILTER (WHERE column_name NOT LIKE '%\_sealed'), table_name)
FROM information_schema.columns
WHERE table_schema = 'public' AND table_name IN
      ('account', 'account_label', 'alembic_version', 'api_key', 'attempt', 'audit', 'client', 'connect_session', 'idempotency',
       'issuer_metadata',
       'outbox', 'pause', 'label_pause')
GROUP BY table_name \gexec

-- A new grant: the columns that worker/db/intake/grants.py and worker/db/publication/store.py write. What says where a refresh is sent, and
-- with which client, is not among them.
GRANT UPDATE (access_token_sealed, refresh_token_sealed, kept_sealed, refresh_fp, source_fp, token_type, scope, issued_at,
              expires_at, refresh_token_expires_at, refresh_token_end_fixed, extra, jitter, next_refresh_at, plan_at, due_reason,
              generation, published_generation, status, reason, status_at, failures, failed_at, succeeded_at, held_by)
    ON public.account TO refreshd_api;
GRANT INSERT ON public.audit TO refreshd_api;
GRANT INSERT ON public.outbox TO refreshd_api;
GRANT INSERT, UPDATE, DELETE ON public.idempotency TO refreshd_api;
GRANT UPDATE (used_at) ON public.api_key TO refreshd_api;
SELECT 'GRANT INSERT, UPDATE, DELETE ON public.connect_session TO refreshd_api'
WHERE to_regclass('public.connect_session') IS NOT NULL \gexec

COMMIT;
