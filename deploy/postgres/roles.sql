-- Who looks at a database, and who may end one session of it. Run once, as a superuser:
--
--     psql -v ON_ERROR_STOP=1 -f deploy/postgres/roles.sql
--
-- Then let two login roles of yours be members of them, and name those in the connection strings:
--
--     CREATE ROLE twin_gate LOGIN PASSWORD '…' IN ROLE twin_observer;        -- twin observe, twin verify, the agent
--     CREATE ROLE twin_promotes LOGIN PASSWORD '…' IN ROLE twin_promoter;    -- twin promote, twin break-glass
--
-- Neither reads or writes a table: pg_monitor shows what sessions do, the texts of their statements among it, and
-- pg_signal_backend ends sessions, though never those of superusers.
CREATE ROLE twin_observer NOLOGIN NOSUPERUSER NOCREATEDB NOCREATEROLE NOREPLICATION NOBYPASSRLS;
GRANT pg_monitor TO twin_observer;

CREATE ROLE twin_promoter NOLOGIN NOSUPERUSER NOCREATEDB NOCREATEROLE NOREPLICATION NOBYPASSRLS;
GRANT pg_monitor, pg_signal_backend TO twin_promoter;
