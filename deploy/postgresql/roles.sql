-- Two roles for one installation: reverser_owner makes the tables, reverser_app works on them and changes none.
--
-- Run it once, in the new database, as a superuser or as the database's owner with CREATEROLE, before the first
-- `reverser migrate`; running it again changes nothing:
--
--     psql -d reverser -v ON_ERROR_STOP=1 -1 -f deploy/postgresql/roles.sql
--
-- No password stands here: `\password reverser_app` in psql sends its hash only, or let pg_hba.conf ask for a certificate.
-- auditor.sql, beside this file, adds a third role that reads. docs/guide/postgresql.md has all steps.

DO $$
DECLARE
  role text;
BEGIN
  EXECUTE format('REVOKE ALL ON DATABASE %I FROM PUBLIC', current_database());
  FOREACH role IN ARRAY ARRAY['reverser_owner', 'reverser_app'] LOOP
    IF NOT EXISTS (SELECT FROM pg_roles WHERE rolname = role) THEN
      EXECUTE format('CREATE ROLE %I LOGIN', role);
    END IF;
    EXECUTE format('GRANT CONNECT ON DATABASE %I TO %I', current_database(), role);
  END LOOP;
END $$;

-- Each process says this at every connect; here it holds behind a pooler too that keeps it from the server. A holder that
-- froze has to lose its locks before its lease.
ALTER ROLE reverser_app SET statement_timeout = '3s';
ALTER ROLE reverser_app SET lock_timeout = '3s';
ALTER ROLE reverser_app SET idle_in_transaction_session_timeout = '3s';
ALTER ROLE reverser_app SET timezone = 'UTC';

-- Up to PostgreSQL 14 everybody may make tables here.
REVOKE ALL ON SCHEMA public FROM PUBLIC;
GRANT USAGE, CREATE ON SCHEMA public TO reverser_owner;
GRANT USAGE ON SCHEMA public TO reverser_app;

-- What the owner makes from now on, in this migration and in all later ones, is the application's to work on. Only a
-- member of a role may say this for it; a superuser is one of every role.
GRANT reverser_owner TO CURRENT_USER;
ALTER DEFAULT PRIVILEGES FOR ROLE reverser_owner IN SCHEMA public
  GRANT SELECT, INSERT, UPDATE, DELETE ON TABLES TO reverser_app;
ALTER DEFAULT PRIVILEGES FOR ROLE reverser_owner IN SCHEMA public
  GRANT USAGE ON SEQUENCES TO reverser_app;

-- What is there already: nothing in a new database. See the guide where another role has owned the tables so far.
GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA public TO reverser_app;
GRANT USAGE ON ALL SEQUENCES IN SCHEMA public TO reverser_app;
