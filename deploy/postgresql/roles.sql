-- Three roles for refreshd on PostgreSQL 15 and later. Run it as a superuser in refreshd's database, before the first
-- `refreshd db upgrade` and again after each one (it makes the views anew); to run it twice does no harm:
--
--   psql --set=migrate_password=... --set=work_password=... --set=read_password=... \
--        [--set=api_password=...] --dbname=refreshd --file=deploy/postgresql/roles.sql
--
--   refreshd_migrate  owns the tables: `refreshd db upgrade`, and nothing else
--   refreshd_work     rows only: workers, and the commands that change accounts
--   refreshd_api      `refreshd api`: api.sql, with api_password
--   refreshd_read     `refreshd status`, `explain`, `history` and `accounts list|show`: views without what is sealed

\set ON_ERROR_STOP on
BEGIN;

SELECT format('CREATE ROLE %I LOGIN', role)
FROM unnest(ARRAY['refreshd_migrate', 'refreshd_work', 'refreshd_read']) AS role
WHERE NOT EXISTS (SELECT FROM pg_roles WHERE rolname = role) \gexec

-- The server's log shows no password.
SET LOCAL log_statement = 'none';
ALTER ROLE refreshd_migrate PASSWORD :'migrate_password';
ALTER ROLE refreshd_work PASSWORD :'work_password';
ALTER ROLE refreshd_read PASSWORD :'read_password';

SELECT format('REVOKE ALL ON DATABASE %I FROM PUBLIC', current_database()) \gexec
SELECT format('GRANT CONNECT ON DATABASE %I TO refreshd_migrate, refreshd_work, refreshd_read', current_database()) \gexec

REVOKE ALL ON SCHEMA public FROM PUBLIC;
GRANT USAGE, CREATE ON SCHEMA public TO refreshd_migrate;
GRANT USAGE ON SCHEMA public TO refreshd_work;

SELECT format('ALTER TABLE public.%I OWNER TO refreshd_migrate', tablename)
FROM pg_tables WHERE schemaname = 'public' \gexec

GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA public TO refreshd_work;
GRANT USAGE ON ALL SEQUENCES IN SCHEMA public TO refreshd_work;
ALTER DEFAULT PRIVILEGES FOR ROLE refreshd_migrate IN SCHEMA public
    GRANT SELECT, INSERT, UPDATE, DELETE ON TABLES TO refreshd_work;
ALTER DEFAULT PRIVILEGES FOR ROLE refreshd_migrate IN SCHEMA public
    GRANT USAGE ON SEQUENCES TO refreshd_work;
-- Which schema is in the database is the owner's to say.
SELECT 'REVOKE INSERT, UPDATE, DELETE ON public.alembic_version FROM refreshd_work'
WHERE to_regclass('public.alembic_version') IS NOT NULL \gexec

-- The reader finds views of the tables' names in a schema of its own. Of a sealed value it sees that there is one, and
-- the id of the key that sealed it.
DROP SCHEMA IF EXISTS refreshd_read CASCADE;
CREATE SCHEMA refreshd_read;
GRANT USAGE ON SCHEMA refreshd_read TO refreshd_read;
ALTER ROLE refreshd_read SET search_path = refreshd_read;

SELECT format('CREATE VIEW refreshd_read.%I AS SELECT %s FROM public.%I', table_name,
              string_agg(CASE WHEN column_name LIKE '%\_sealed'
                              THEN format('''v1.'' || split_part(%1$I, ''.'', 2) || ''.'' AS %1$I', column_name)
                              ELSE format('%I', column_name) END, ', ' ORDER BY ordinal_position), table_name)
FROM information_schema.columns
WHERE table_schema = 'public' AND table_name IN (SELECT tablename FROM pg_tables WHERE schemaname = 'public')
GROUP BY table_name \gexec

GRANT SELECT ON ALL TABLES IN SCHEMA refreshd_read TO refreshd_read;

COMMIT;

-- The API's role (docs/api.md), where its password is given too and the tables are there.
\if :{?api_password}
    SELECT to_regclass('public.api_key') IS NOT NULL AS has_api \gset
    \if :has_api
        \ir api.sql
    \endif
\endif
