-- An order is one document: it is read whole and written whole, and what is in it is the business of order-service alone.
-- What is searched by or guarded stays in columns of its own.
ALTER TABLE orders ADD COLUMN document jsonb;

UPDATE orders SET document = jsonb_build_object(
  'paymentMethod', payment_method, 'total', total, 'currency', currency,
  'items', (
    SELECT jsonb_agg(
      jsonb_build_object('productId', product_id, 'name', name, 'price', price, 'quantity', quantity) ORDER BY position
    ) FROM order_items i WHERE i.order_id = orders.id
  )
);

DROP TABLE order_items;
ALTER TABLE orders
  ALTER COLUMN document SET NOT NULL,
  DROP COLUMN payment_method,
  DROP COLUMN total,
  DROP COLUMN currency,
  ADD COLUMN total bigint GENERATED ALWAYS AS ((document ->> 'total')::bigint) STORED CHECK (total > 0),
  ADD CHECK (jsonb_array_length(document -> 'items') > 0);

-- The items as rows, for a person who looks at the database.
CREATE VIEW order_items AS
  SELECT orders.id AS order_id, item.position, item.value ->> 'productId' AS product_id, item.value ->> 'name' AS name,
    (item.value ->> 'price')::bigint AS price, (item.value ->> 'quantity')::integer AS quantity
  FROM orders, jsonb_array_elements(document -> 'items') WITH ORDINALITY AS item (value, position);
