-- The role with which KEDA counts who is due. It can read no address, and it can change nothing.
-- Run this in the database of Stockbell, after `stockbell migrate`, as a superuser (or as the owner of the tables, if
-- that role may create roles). Then: \password stockbell_keda
CREATE ROLE stockbell_keda LOGIN CONNECTION LIMIT 5;
ALTER ROLE stockbell_keda SET default_transaction_read_only = on;
ALTER ROLE stockbell_keda SET statement_timeout = '5s';
GRANT SELECT (waiting_list_id, status, not_before, ordered_at, created_date) ON request TO stockbell_keda;
GRANT SELECT (id, item_id, options, options_key, in_stock, last_in_stock_at, opens_at, settles_at) ON waiting_list TO stockbell_keda;
GRANT SELECT (state) ON relay TO stockbell_keda;
GRANT SELECT (item_id, options) ON pause TO stockbell_keda;
