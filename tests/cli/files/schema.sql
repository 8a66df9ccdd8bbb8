CREATE TABLE customers (id int PRIMARY KEY, email text NOT NULL DEFAULT 'x');
CREATE TABLE orders (customer_id int REFERENCES customers (id), address text);
CREATE VIEW addresses AS SELECT address FROM orders;
