-- A role for people: reverser_auditor reads what there is to ask, and writes nothing.
--
-- Run it once, as roles.sql was run, after the first `reverser migrate`; running it again changes nothing:
--
--     psql -d reverser -v ON_ERROR_STOP=1 -1 -f deploy/postgresql/auditor.sql
--
-- It reads every view and table, those of later migrations too, but one: event_body has the objects themselves, for
-- seconds, on their way into Git. Who may read them there is for the Git host to say, branch by branch; an auditor of
-- the records needs to know that an object changed, not what stands in it.

DO $$
BEGIN
  IF NOT EXISTS (SELECT FROM pg_roles WHERE rolname = 'reverser_auditor') THEN
    CREATE ROLE reverser_auditor LOGIN;
  END IF;
  EXECUTE format('GRANT CONNECT ON DATABASE %I TO reverser_auditor', current_database());
END $$;

-- Not what keeps it from writing, for each session may change it: it has no right to. But a transaction that somebody
-- left open keeps PostgreSQL from cleaning up, and holds up the next migration.
ALTER ROLE reverser_auditor SET default_transaction_read_only = on;
ALTER ROLE reverser_auditor SET idle_in_transaction_session_timeout = '1min';

GRANT USAGE ON SCHEMA public TO reverser_auditor;
GRANT SELECT ON ALL TABLES IN SCHEMA public TO reverser_auditor;
-- Fails where there is no such table yet: then nothing was granted at all.
REVOKE ALL ON event_body FROM reverser_auditor;
GRANT reverser_owner TO CURRENT_USER;
ALTER DEFAULT PRIVILEGES FOR ROLE reverser_owner IN SCHEMA public GRANT SELECT ON TABLES TO reverser_auditor;
