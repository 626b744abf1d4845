INSERT INTO categories (id, name) VALUES
  ('furniture', 'Furniture'),
  ('kitchen', 'Kitchen'),
  ('lighting', 'Lighting'),
  ('stationery', 'Stationery');

INSERT INTO products (id, name, category, price, on_hand) VALUES
  ('walnut-desk', 'Walnut desk', 'furniture', 64900, 12),
  ('reading-chair', 'Reading chair', 'furniture', 32900, 20),
  ('brass-lamp', 'Brass lamp', 'lighting', 11900, 40),
  ('paper-lantern', 'Paper lantern', 'lighting', 2900, 150),
  ('espresso-cup', 'Espresso cup', 'kitchen', 1450, 200),
  ('cast-iron-pan', 'Cast-iron pan', 'kitchen', 5900, 60),
  ('dotted-notebook', 'Dotted notebook', 'stationery', 1200, 500),
  ('fountain-pen', 'Fountain pen', 'stationery', 4800, 80);
