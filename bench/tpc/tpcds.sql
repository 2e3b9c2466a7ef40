-- Queries of TPC-DS as SQL that Polars and DuckDB both read, with the parameters of the validation
-- runs. Joins are written with ON, correlated subqueries as joins; columns that make the order of
-- the rows complete are added to ORDER BY, so that every engine gives the same rows before LIMIT.

-- q3
SELECT d_year, i_brand_id AS brand_id, i_brand AS brand, SUM(ss_ext_sales_price) AS sum_agg
FROM store_sales
JOIN date_dim ON d_date_sk = ss_sold_date_sk
JOIN item ON ss_item_sk = i_item_sk
WHERE i_manufact_id = 128 AND d_moy = 11
GROUP BY d_year, i_brand_id, i_brand
ORDER BY d_year, sum_agg DESC, brand_id, brand
LIMIT 100;

-- q7
SELECT i_item_id, AVG(ss_quantity) AS agg1, AVG(ss_list_price) AS agg2, AVG(ss_coupon_amt) AS agg3,
  AVG(ss_sales_price) AS agg4
FROM store_sales
JOIN customer_demographics ON ss_cdemo_sk = cd_demo_sk
JOIN date_dim ON ss_sold_date_sk = d_date_sk
JOIN item ON ss_item_sk = i_item_sk
JOIN promotion ON ss_promo_sk = p_promo_sk
WHERE cd_gender = 'M' AND cd_marital_status = 'S' AND cd_education_status = 'College'
  AND (p_channel_email = 'N' OR p_channel_event = 'N') AND d_year = 2000
GROUP BY i_item_id
ORDER BY i_item_id
LIMIT 100;

-- q12
SELECT i_item_id, i_item_desc, i_category, i_class, i_current_price, itemrevenue,
  itemrevenue * 100.0 / SUM(itemrevenue) OVER (PARTITION BY i_class) AS revenueratio
FROM (
  SELECT i_item_id, i_item_desc, i_category, i_class, i_current_price,
    CAST(SUM(ws_ext_sales_price) AS DOUBLE) AS itemrevenue
  FROM web_sales
  JOIN item ON ws_item_sk = i_item_sk
  JOIN date_dim ON ws_sold_date_sk = d_date_sk
  WHERE i_category IN ('Sports', 'Books', 'Home')
    AND d_date BETWEEN CAST('1999-02-22' AS DATE) AND CAST('1999-03-24' AS DATE)
  GROUP BY i_item_id, i_item_desc, i_category, i_class, i_current_price
) AS sales
ORDER BY i_category, i_class, i_item_id, i_item_desc, revenueratio
LIMIT 100;

-- q15
SELECT ca_zip, SUM(cs_sales_price) AS total
FROM catalog_sales
JOIN customer ON cs_bill_customer_sk = c_customer_sk
JOIN customer_address ON c_current_addr_sk = ca_address_sk
JOIN date_dim ON cs_sold_date_sk = d_date_sk
WHERE (SUBSTR(ca_zip, 1, 5) IN ('85669', '86197', '88274', '83405', '86475', '85392', '85460',
    '80348', '81792')
  OR ca_state IN ('CA', 'WA', 'GA') OR cs_sales_price > 500)
  AND d_qoy = 2 AND d_year = 2001
GROUP BY ca_zip
ORDER BY ca_zip
LIMIT 100;

-- q19
SELECT i_brand_id AS brand_id, i_brand AS brand, i_manufact_id, i_manufact,
  SUM(ss_ext_sales_price) AS ext_price
FROM store_sales
JOIN date_dim ON d_date_sk = ss_sold_date_sk
JOIN item ON ss_item_sk = i_item_sk
JOIN customer ON ss_customer_sk = c_customer_sk
JOIN customer_address ON c_current_addr_sk = ca_address_sk
JOIN store ON ss_store_sk = s_store_sk
WHERE i_manager_id = 8 AND d_moy = 11 AND d_year = 1998
  AND SUBSTR(ca_zip, 1, 5) <> SUBSTR(s_zip, 1, 5)
GROUP BY i_brand_id, i_brand, i_manufact_id, i_manufact
ORDER BY ext_price DESC, brand, brand_id, i_manufact_id, i_manufact
LIMIT 100;

-- q20
SELECT i_item_id, i_item_desc, i_category, i_class, i_current_price, itemrevenue,
  itemrevenue * 100.0 / SUM(itemrevenue) OVER (PARTITION BY i_class) AS revenueratio
FROM (
  SELECT i_item_id, i_item_desc, i_category, i_class, i_current_price,
    CAST(SUM(cs_ext_sales_price) AS DOUBLE) AS itemrevenue
  FROM catalog_sales
  JOIN item ON cs_item_sk = i_item_sk
  JOIN date_dim ON cs_sold_date_sk = d_date_sk
  WHERE i_category IN ('Sports', 'Books', 'Home')
    AND d_date BETWEEN CAST('1999-02-22' AS DATE) AND CAST('1999-03-24' AS DATE)
  GROUP BY i_item_id, i_item_desc, i_category, i_class, i_current_price
) AS sales
ORDER BY i_category, i_class, i_item_id, i_item_desc, revenueratio
LIMIT 100;

-- q21
SELECT w_warehouse_name, i_item_id,
  SUM(CASE WHEN d_date < CAST('2000-03-11' AS DATE) THEN inv_quantity_on_hand ELSE 0 END)
    AS inv_before,
  SUM(CASE WHEN d_date >= CAST('2000-03-11' AS DATE) THEN inv_quantity_on_hand ELSE 0 END)
    AS inv_after
FROM inventory
JOIN warehouse ON inv_warehouse_sk = w_warehouse_sk
JOIN item ON i_item_sk = inv_item_sk
JOIN date_dim ON inv_date_sk = d_date_sk
WHERE i_current_price BETWEEN 0.99 AND 1.49
  AND d_date BETWEEN CAST('2000-02-10' AS DATE) AND CAST('2000-04-10' AS DATE)
GROUP BY w_warehouse_name, i_item_id
ORDER BY w_warehouse_name, i_item_id
LIMIT 100;

-- q26
SELECT i_item_id, AVG(cs_quantity) AS agg1, AVG(cs_list_price) AS agg2, AVG(cs_coupon_amt) AS agg3,
  AVG(cs_sales_price) AS agg4
FROM catalog_sales
JOIN customer_demographics ON cs_bill_cdemo_sk = cd_demo_sk
JOIN date_dim ON cs_sold_date_sk = d_date_sk
JOIN item ON cs_item_sk = i_item_sk
JOIN promotion ON cs_promo_sk = p_promo_sk
WHERE cd_gender = 'M' AND cd_marital_status = 'S' AND cd_education_status = 'College'
  AND (p_channel_email = 'N' OR p_channel_event = 'N') AND d_year = 2000
GROUP BY i_item_id
ORDER BY i_item_id
LIMIT 100;

-- q33
WITH sales AS (
  SELECT ss_item_sk AS item_sk, ss_addr_sk AS addr_sk, ss_sold_date_sk AS date_sk,
    ss_ext_sales_price AS price FROM store_sales
  UNION ALL
  SELECT cs_item_sk AS item_sk, cs_bill_addr_sk AS addr_sk, cs_sold_date_sk AS date_sk,
    cs_ext_sales_price AS price FROM catalog_sales
  UNION ALL
  SELECT ws_item_sk AS item_sk, ws_bill_addr_sk AS addr_sk, ws_sold_date_sk AS date_sk,
    ws_ext_sales_price AS price FROM web_sales
)
SELECT i_manufact_id, SUM(price) AS total_sales
FROM sales
JOIN item ON item_sk = i_item_sk
JOIN date_dim ON date_sk = d_date_sk
JOIN customer_address ON addr_sk = ca_address_sk
WHERE i_manufact_id IN (SELECT i_manufact_id FROM item WHERE i_category = 'Electronics')
  AND d_year = 1998 AND d_moy = 5 AND ca_gmt_offset = -5
GROUP BY i_manufact_id
ORDER BY total_sales, i_manufact_id
LIMIT 100;

-- q34
SELECT c_last_name, c_first_name, c_salutation, c_preferred_cust_flag, ss_ticket_number, cnt
FROM (
  SELECT ss_ticket_number, ss_customer_sk, COUNT(*) AS cnt
  FROM store_sales
  JOIN date_dim ON ss_sold_date_sk = d_date_sk
  JOIN store ON ss_store_sk = s_store_sk
  JOIN household_demographics ON ss_hdemo_sk = hd_demo_sk
  WHERE (d_dom BETWEEN 1 AND 3 OR d_dom BETWEEN 25 AND 28)
    AND hd_buy_potential IN ('>10000', 'Unknown') AND hd_vehicle_count > 0
    AND CASE WHEN hd_vehicle_count > 0
      THEN CAST(hd_dep_count AS DOUBLE) / hd_vehicle_count ELSE NULL END > 1.2
    AND d_year IN (1999, 2000, 2001) AND s_county = 'Williamson County'
  GROUP BY ss_ticket_number, ss_customer_sk
) AS dn
JOIN customer ON ss_customer_sk = c_customer_sk
WHERE cnt BETWEEN 15 AND 20
ORDER BY c_last_name, c_first_name, c_salutation, c_preferred_cust_flag DESC, ss_ticket_number;

-- q37
SELECT i_item_id, i_item_desc, i_current_price
FROM item
JOIN inventory ON inv_item_sk = i_item_sk
JOIN date_dim ON d_date_sk = inv_date_sk
JOIN catalog_sales ON cs_item_sk = i_item_sk
WHERE i_current_price BETWEEN 68 AND 98
  AND d_date BETWEEN CAST('2000-02-01' AS DATE) AND CAST('2000-04-01' AS DATE)
  AND i_manufact_id IN (677, 940, 694, 808) AND inv_quantity_on_hand BETWEEN 100 AND 500
GROUP BY i_item_id, i_item_desc, i_current_price
ORDER BY i_item_id
LIMIT 100;

-- q42
SELECT d_year, i_category_id, i_category, SUM(ss_ext_sales_price) AS total
FROM store_sales
JOIN date_dim ON d_date_sk = ss_sold_date_sk
JOIN item ON ss_item_sk = i_item_sk
WHERE i_manager_id = 1 AND d_moy = 11 AND d_year = 2000
GROUP BY d_year, i_category_id, i_category
ORDER BY total DESC, d_year, i_category_id, i_category
LIMIT 100;

-- q43
SELECT s_store_name, s_store_id,
  SUM(CASE WHEN d_day_name = 'Sunday' THEN ss_sales_price ELSE NULL END) AS sun_sales,
  SUM(CASE WHEN d_day_name = 'Monday' THEN ss_sales_price ELSE NULL END) AS mon_sales,
  SUM(CASE WHEN d_day_name = 'Tuesday' THEN ss_sales_price ELSE NULL END) AS tue_sales,
  SUM(CASE WHEN d_day_name = 'Wednesday' THEN ss_sales_price ELSE NULL END) AS wed_sales,
  SUM(CASE WHEN d_day_name = 'Thursday' THEN ss_sales_price ELSE NULL END) AS thu_sales,
  SUM(CASE WHEN d_day_name = 'Friday' THEN ss_sales_price ELSE NULL END) AS fri_sales,
  SUM(CASE WHEN d_day_name = 'Saturday' THEN ss_sales_price ELSE NULL END) AS sat_sales
FROM store_sales
JOIN date_dim ON d_date_sk = ss_sold_date_sk
JOIN store ON s_store_sk = ss_store_sk
WHERE s_gmt_offset = -5 AND d_year = 2000
GROUP BY s_store_name, s_store_id
ORDER BY s_store_name, s_store_id
LIMIT 100;

-- q46
SELECT c_last_name, c_first_name, current_addr.ca_city, bought_city, ss_ticket_number, amt, profit
FROM (
  SELECT ss_ticket_number, ss_customer_sk, ss_addr_sk, ca_city AS bought_city,
    SUM(ss_coupon_amt) AS amt, SUM(ss_net_profit) AS profit
  FROM store_sales
  JOIN date_dim ON ss_sold_date_sk = d_date_sk
  JOIN store ON ss_store_sk = s_store_sk
  JOIN household_demographics ON ss_hdemo_sk = hd_demo_sk
  JOIN customer_address ON ss_addr_sk = ca_address_sk
  WHERE (hd_dep_count = 4 OR hd_vehicle_count = 3) AND d_dow IN (6, 0)
    AND d_year IN (1999, 2000, 2001) AND s_city IN ('Fairview', 'Midway')
  GROUP BY ss_ticket_number, ss_customer_sk, ss_addr_sk, ca_city
) AS dn
JOIN customer ON ss_customer_sk = c_customer_sk
JOIN customer_address AS current_addr ON c_current_addr_sk = current_addr.ca_address_sk
WHERE current_addr.ca_city <> bought_city
ORDER BY c_last_name, c_first_name, ca_city, bought_city, ss_ticket_number, amt, profit
LIMIT 100;

-- q48
SELECT SUM(ss_quantity) AS quantity
FROM store_sales
JOIN store ON s_store_sk = ss_store_sk
JOIN date_dim ON ss_sold_date_sk = d_date_sk
JOIN customer_demographics ON cd_demo_sk = ss_cdemo_sk
JOIN customer_address ON ss_addr_sk = ca_address_sk
WHERE d_year = 2000
  AND ((cd_marital_status = 'M' AND cd_education_status = '4 yr Degree'
      AND ss_sales_price BETWEEN 100.00 AND 150.00)
    OR (cd_marital_status = 'D' AND cd_education_status = '2 yr Degree'
      AND ss_sales_price BETWEEN 50.00 AND 100.00)
    OR (cd_marital_status = 'S' AND cd_education_status = 'College'
      AND ss_sales_price BETWEEN 150.00 AND 200.00))
  AND ((ca_country = 'United States' AND ca_state IN ('CO', 'OH', 'TX')
      AND ss_net_profit BETWEEN 0 AND 2000)
    OR (ca_country = 'United States' AND ca_state IN ('OR', 'MN', 'KY')
      AND ss_net_profit BETWEEN 150 AND 3000)
    OR (ca_country = 'United States' AND ca_state IN ('VA', 'CA', 'MS')
      AND ss_net_profit BETWEEN 50 AND 25000));

-- q50
SELECT s_store_name, s_company_id, s_street_number, s_street_name, s_zip,
  SUM(CASE WHEN sr_returned_date_sk - ss_sold_date_sk <= 30 THEN 1 ELSE 0 END) AS days_30,
  SUM(CASE WHEN sr_returned_date_sk - ss_sold_date_sk > 30
    AND sr_returned_date_sk - ss_sold_date_sk <= 60 THEN 1 ELSE 0 END) AS days_60,
  SUM(CASE WHEN sr_returned_date_sk - ss_sold_date_sk > 60
    AND sr_returned_date_sk - ss_sold_date_sk <= 90 THEN 1 ELSE 0 END) AS days_90,
  SUM(CASE WHEN sr_returned_date_sk - ss_sold_date_sk > 90 THEN 1 ELSE 0 END) AS more_days
FROM store_sales
JOIN store_returns ON ss_ticket_number = sr_ticket_number AND ss_item_sk = sr_item_sk
  AND ss_customer_sk = sr_customer_sk
JOIN store ON ss_store_sk = s_store_sk
JOIN date_dim ON sr_returned_date_sk = d_date_sk
WHERE d_year = 2001 AND d_moy = 8
GROUP BY s_store_name, s_company_id, s_street_number, s_street_name, s_zip
ORDER BY s_store_name, s_company_id, s_street_number, s_street_name, s_zip
LIMIT 100;

-- q52
SELECT d_year, i_brand_id AS brand_id, i_brand AS brand, SUM(ss_ext_sales_price) AS ext_price
FROM store_sales
JOIN date_dim ON d_date_sk = ss_sold_date_sk
JOIN item ON ss_item_sk = i_item_sk
WHERE i_manager_id = 1 AND d_moy = 11 AND d_year = 2000
GROUP BY d_year, i_brand_id, i_brand
ORDER BY d_year, ext_price DESC, brand_id, brand
LIMIT 100;

-- q53
SELECT i_manufact_id, sum_sales, avg_quarterly_sales
FROM (
  SELECT i_manufact_id, sum_sales,
    AVG(sum_sales) OVER (PARTITION BY i_manufact_id) AS avg_quarterly_sales
  FROM (
    SELECT i_manufact_id, d_qoy, CAST(SUM(ss_sales_price) AS DOUBLE) AS sum_sales
    FROM item
    JOIN store_sales ON ss_item_sk = i_item_sk
    JOIN date_dim ON ss_sold_date_sk = d_date_sk
    JOIN store ON ss_store_sk = s_store_sk
    WHERE d_month_seq BETWEEN 1200 AND 1211
      AND ((i_category IN ('Books', 'Children', 'Electronics')
          AND i_class IN ('personal', 'portable', 'reference', 'self-help'))
        OR (i_category IN ('Women', 'Music', 'Men')
          AND i_class IN ('accessories', 'classical', 'fragrances', 'pants')))
    GROUP BY i_manufact_id, d_qoy
  ) AS quarters
) AS averages
WHERE CASE WHEN avg_quarterly_sales > 0
  THEN ABS(sum_sales - avg_quarterly_sales) / avg_quarterly_sales ELSE NULL END > 0.1
ORDER BY avg_quarterly_sales, sum_sales, i_manufact_id
LIMIT 100;

-- q55
SELECT i_brand_id AS brand_id, i_brand AS brand, SUM(ss_ext_sales_price) AS ext_price
FROM store_sales
JOIN date_dim ON d_date_sk = ss_sold_date_sk
JOIN item ON ss_item_sk = i_item_sk
WHERE i_manager_id = 28 AND d_moy = 11 AND d_year = 1999
GROUP BY i_brand_id, i_brand
ORDER BY ext_price DESC, brand_id, brand
LIMIT 100;

-- q62
SELECT SUBSTR(w_warehouse_name, 1, 20) AS warehouse, sm_type, web_name,
  SUM(CASE WHEN ws_ship_date_sk - ws_sold_date_sk <= 30 THEN 1 ELSE 0 END) AS days_30,
  SUM(CASE WHEN ws_ship_date_sk - ws_sold_date_sk > 30
    AND ws_ship_date_sk - ws_sold_date_sk <= 60 THEN 1 ELSE 0 END) AS days_60,
  SUM(CASE WHEN ws_ship_date_sk - ws_sold_date_sk > 60 THEN 1 ELSE 0 END) AS more_days
FROM web_sales
JOIN date_dim ON ws_ship_date_sk = d_date_sk
JOIN warehouse ON ws_warehouse_sk = w_warehouse_sk
JOIN ship_mode ON ws_ship_mode_sk = sm_ship_mode_sk
JOIN web_site ON ws_web_site_sk = web_site_sk
WHERE d_month_seq BETWEEN 1200 AND 1211
GROUP BY SUBSTR(w_warehouse_name, 1, 20), sm_type, web_name
ORDER BY warehouse, sm_type, web_name
LIMIT 100;

-- q65
WITH sa AS (
  SELECT ss_store_sk, ss_item_sk, CAST(SUM(ss_sales_price) AS DOUBLE) AS revenue
  FROM store_sales
  JOIN date_dim ON ss_sold_date_sk = d_date_sk
  WHERE d_month_seq BETWEEN 1176 AND 1187
  GROUP BY ss_store_sk, ss_item_sk
),
sb AS (SELECT ss_store_sk AS store_sk, AVG(revenue) AS ave FROM sa GROUP BY ss_store_sk)
SELECT s_store_name, i_item_desc, revenue, i_current_price, i_wholesale_cost, i_brand
FROM sa
JOIN sb ON sb.store_sk = sa.ss_store_sk
JOIN store ON s_store_sk = sa.ss_store_sk
JOIN item ON i_item_sk = sa.ss_item_sk
WHERE revenue <= 0.1 * ave
ORDER BY s_store_name, i_item_desc, revenue, i_current_price, i_wholesale_cost, i_brand
LIMIT 100;

-- q68
SELECT c_last_name, c_first_name, current_addr.ca_city, bought_city, ss_ticket_number,
  extended_price, extended_tax, list_price
FROM (
  SELECT ss_ticket_number, ss_customer_sk, ca_city AS bought_city,
    SUM(ss_ext_sales_price) AS extended_price, SUM(ss_ext_list_price) AS list_price,
    SUM(ss_ext_tax) AS extended_tax
  FROM store_sales
  JOIN date_dim ON ss_sold_date_sk = d_date_sk
  JOIN store ON ss_store_sk = s_store_sk
  JOIN household_demographics ON ss_hdemo_sk = hd_demo_sk
  JOIN customer_address ON ss_addr_sk = ca_address_sk
  WHERE d_dom BETWEEN 1 AND 2 AND (hd_dep_count = 4 OR hd_vehicle_count = 3)
    AND d_year IN (1999, 2000, 2001) AND s_city IN ('Fairview', 'Midway')
  GROUP BY ss_ticket_number, ss_customer_sk, ss_addr_sk, ca_city
) AS dn
JOIN customer ON ss_customer_sk = c_customer_sk
JOIN customer_address AS current_addr ON c_current_addr_sk = current_addr.ca_address_sk
WHERE current_addr.ca_city <> bought_city
ORDER BY c_last_name, c_first_name, ss_ticket_number, ca_city, bought_city, extended_price
LIMIT 100;

-- q71
WITH sales AS (
  SELECT ws_ext_sales_price AS ext_price, ws_item_sk AS sold_item_sk, ws_sold_time_sk AS time_sk,
    ws_sold_date_sk AS date_sk FROM web_sales
  UNION ALL
  SELECT cs_ext_sales_price AS ext_price, cs_item_sk AS sold_item_sk, cs_sold_time_sk AS time_sk,
    cs_sold_date_sk AS date_sk FROM catalog_sales
  UNION ALL
  SELECT ss_ext_sales_price AS ext_price, ss_item_sk AS sold_item_sk, ss_sold_time_sk AS time_sk,
    ss_sold_date_sk AS date_sk FROM store_sales
)
SELECT i_brand_id AS brand_id, i_brand AS brand, t_hour, t_minute, SUM(ext_price) AS ext_price
FROM sales
JOIN item ON sold_item_sk = i_item_sk
JOIN date_dim ON d_date_sk = date_sk
JOIN time_dim ON time_sk = t_time_sk
WHERE i_manager_id = 1 AND d_moy = 11 AND d_year = 1999
  AND (t_meal_time = 'breakfast' OR t_meal_time = 'dinner')
GROUP BY i_brand, i_brand_id, t_hour, t_minute
ORDER BY ext_price DESC, brand_id, t_hour, t_minute;

-- q73
SELECT c_last_name, c_first_name, c_salutation, c_preferred_cust_flag, ss_ticket_number, cnt
FROM (
  SELECT ss_ticket_number, ss_customer_sk, COUNT(*) AS cnt
  FROM store_sales
  JOIN date_dim ON ss_sold_date_sk = d_date_sk
  JOIN store ON ss_store_sk = s_store_sk
  JOIN household_demographics ON ss_hdemo_sk = hd_demo_sk
  WHERE d_dom BETWEEN 1 AND 2 AND hd_buy_potential IN ('>10000', 'Unknown')
    AND hd_vehicle_count > 0
    AND CASE WHEN hd_vehicle_count > 0
      THEN CAST(hd_dep_count AS DOUBLE) / hd_vehicle_count ELSE NULL END > 1
    AND d_year IN (1999, 2000, 2001)
  GROUP BY ss_ticket_number, ss_customer_sk
) AS dj
JOIN customer ON ss_customer_sk = c_customer_sk
WHERE cnt BETWEEN 1 AND 5
ORDER BY cnt DESC, c_last_name, ss_ticket_number;

-- q79
SELECT c_last_name, c_first_name, SUBSTR(s_city, 1, 30) AS city, ss_ticket_number, amt, profit
FROM (
  SELECT ss_ticket_number, ss_customer_sk, s_city, SUM(ss_coupon_amt) AS amt,
    SUM(ss_net_profit) AS profit
  FROM store_sales
  JOIN date_dim ON ss_sold_date_sk = d_date_sk
  JOIN store ON ss_store_sk = s_store_sk
  JOIN household_demographics ON ss_hdemo_sk = hd_demo_sk
  WHERE (hd_dep_count = 6 OR hd_vehicle_count > 2) AND d_dow = 1
    AND d_year IN (1999, 2000, 2001) AND s_number_employees BETWEEN 200 AND 295
  GROUP BY ss_ticket_number, ss_customer_sk, ss_addr_sk, s_city
) AS ms
JOIN customer ON ss_customer_sk = c_customer_sk
ORDER BY c_last_name, c_first_name, city, profit, ss_ticket_number, amt
LIMIT 100;

-- q82
SELECT i_item_id, i_item_desc, i_current_price
FROM item
JOIN inventory ON inv_item_sk = i_item_sk
JOIN date_dim ON d_date_sk = inv_date_sk
JOIN store_sales ON ss_item_sk = i_item_sk
WHERE i_current_price BETWEEN 62 AND 92
  AND d_date BETWEEN CAST('2000-05-25' AS DATE) AND CAST('2000-07-24' AS DATE)
  AND i_manufact_id IN (129, 270, 821, 423) AND inv_quantity_on_hand BETWEEN 100 AND 500
GROUP BY i_item_id, i_item_desc, i_current_price
ORDER BY i_item_id
LIMIT 100;

-- q93
SELECT ss_customer_sk, SUM(act_sales) AS sumsales
FROM (
  SELECT ss_item_sk, ss_ticket_number, ss_customer_sk,
    CASE WHEN sr_return_quantity IS NOT NULL
      THEN (ss_quantity - sr_return_quantity) * CAST(ss_sales_price AS DOUBLE)
      ELSE ss_quantity * CAST(ss_sales_price AS DOUBLE) END AS act_sales
  FROM store_sales
  JOIN store_returns ON sr_item_sk = ss_item_sk AND sr_ticket_number = ss_ticket_number
  JOIN reason ON sr_reason_sk = r_reason_sk
  WHERE r_reason_desc = 'reason 28'
) AS t
GROUP BY ss_customer_sk
ORDER BY sumsales, ss_customer_sk
LIMIT 100;

-- q96
SELECT COUNT(*) AS cnt
FROM store_sales
JOIN household_demographics ON ss_hdemo_sk = hd_demo_sk
JOIN time_dim ON ss_sold_time_sk = t_time_sk
JOIN store ON ss_store_sk = s_store_sk
WHERE t_hour = 20 AND t_minute >= 30 AND hd_dep_count = 7 AND s_store_name = 'ese';

-- q98
SELECT i_item_id, i_item_desc, i_category, i_class, i_current_price, itemrevenue,
  itemrevenue * 100.0 / SUM(itemrevenue) OVER (PARTITION BY i_class) AS revenueratio
FROM (
  SELECT i_item_id, i_item_desc, i_category, i_class, i_current_price,
    CAST(SUM(ss_ext_sales_price) AS DOUBLE) AS itemrevenue
  FROM store_sales
  JOIN item ON ss_item_sk = i_item_sk
  JOIN date_dim ON ss_sold_date_sk = d_date_sk
  WHERE i_category IN ('Sports', 'Books', 'Home')
    AND d_date BETWEEN CAST('1999-02-22' AS DATE) AND CAST('1999-03-24' AS DATE)
  GROUP BY i_item_id, i_item_desc, i_category, i_class, i_current_price
) AS sales
ORDER BY i_category, i_class, i_item_id, i_item_desc, revenueratio;

-- q99
SELECT SUBSTR(w_warehouse_name, 1, 20) AS warehouse, sm_type, cc_name,
  SUM(CASE WHEN cs_ship_date_sk - cs_sold_date_sk <= 30 THEN 1 ELSE 0 END) AS days_30,
  SUM(CASE WHEN cs_ship_date_sk - cs_sold_date_sk > 30
    AND cs_ship_date_sk - cs_sold_date_sk <= 60 THEN 1 ELSE 0 END) AS days_60,
  SUM(CASE WHEN cs_ship_date_sk - cs_sold_date_sk > 60 THEN 1 ELSE 0 END) AS more_days
FROM catalog_sales
JOIN date_dim ON cs_ship_date_sk = d_date_sk
JOIN warehouse ON cs_warehouse_sk = w_warehouse_sk
JOIN ship_mode ON cs_ship_mode_sk = sm_ship_mode_sk
JOIN call_center ON cs_call_center_sk = cc_call_center_sk
WHERE d_month_seq BETWEEN 1200 AND 1211
GROUP BY SUBSTR(w_warehouse_name, 1, 20), sm_type, cc_name
ORDER BY warehouse, sm_type, cc_name
LIMIT 100;

-- q1
WITH customer_total_return AS (
  SELECT sr_customer_sk, sr_store_sk, SUM(sr_return_amt) AS total
  FROM store_returns, date_dim
  WHERE sr_returned_date_sk = d_date_sk AND d_year = 2000
  GROUP BY sr_customer_sk, sr_store_sk
)
SELECT c_customer_id
FROM customer_total_return ctr1, store, customer
WHERE ctr1.total > (
    SELECT AVG(total) * 1.2 FROM customer_total_return ctr2
    WHERE ctr1.sr_store_sk = ctr2.sr_store_sk)
  AND s_store_sk = ctr1.sr_store_sk AND s_state = 'TN' AND ctr1.sr_customer_sk = c_customer_sk
ORDER BY c_customer_id
LIMIT 100;

-- q6
SELECT a.ca_state AS state, COUNT(*) AS cnt
FROM customer_address a, customer c, store_sales s, date_dim d, item i
WHERE a.ca_address_sk = c.c_current_addr_sk AND c.c_customer_sk = s.ss_customer_sk
  AND s.ss_sold_date_sk = d.d_date_sk AND s.ss_item_sk = i.i_item_sk
  AND d.d_month_seq = (
    SELECT DISTINCT d_month_seq FROM date_dim WHERE d_year = 2001 AND d_moy = 1)
  AND i.i_current_price > (
    SELECT 1.2 * AVG(j.i_current_price) FROM item j WHERE j.i_category = i.i_category)
GROUP BY a.ca_state
HAVING COUNT(*) >= 10
ORDER BY cnt, a.ca_state NULLS FIRST
LIMIT 100;

-- q25
SELECT i_item_id, i_item_desc, s_store_id, s_store_name, SUM(ss_net_profit) AS store_sales_profit,
  SUM(sr_net_loss) AS store_returns_loss, SUM(cs_net_profit) AS catalog_sales_profit
FROM store_sales, store_returns, catalog_sales, date_dim d1, date_dim d2, date_dim d3, store, item
WHERE d1.d_moy = 4 AND d1.d_year = 2001 AND d1.d_date_sk = ss_sold_date_sk
  AND i_item_sk = ss_item_sk AND s_store_sk = ss_store_sk AND ss_customer_sk = sr_customer_sk
  AND ss_item_sk = sr_item_sk AND ss_ticket_number = sr_ticket_number
  AND sr_returned_date_sk = d2.d_date_sk AND d2.d_moy BETWEEN 4 AND 10 AND d2.d_year = 2001
  AND sr_customer_sk = cs_bill_customer_sk AND sr_item_sk = cs_item_sk
  AND cs_sold_date_sk = d3.d_date_sk AND d3.d_moy BETWEEN 4 AND 10 AND d3.d_year = 2001
GROUP BY i_item_id, i_item_desc, s_store_id, s_store_name
ORDER BY i_item_id, i_item_desc, s_store_id, s_store_name
LIMIT 100;

-- q29
SELECT i_item_id, i_item_desc, s_store_id, s_store_name, SUM(ss_quantity) AS store_sales_quantity,
  SUM(sr_return_quantity) AS store_returns_quantity, SUM(cs_quantity) AS catalog_sales_quantity
FROM store_sales, store_returns, catalog_sales, date_dim d1, date_dim d2, date_dim d3, store, item
WHERE d1.d_moy = 9 AND d1.d_year = 1999 AND d1.d_date_sk = ss_sold_date_sk
  AND i_item_sk = ss_item_sk AND s_store_sk = ss_store_sk AND ss_customer_sk = sr_customer_sk
  AND ss_item_sk = sr_item_sk AND ss_ticket_number = sr_ticket_number
  AND sr_returned_date_sk = d2.d_date_sk AND d2.d_moy BETWEEN 9 AND 12 AND d2.d_year = 1999
  AND sr_customer_sk = cs_bill_customer_sk AND sr_item_sk = cs_item_sk
  AND cs_sold_date_sk = d3.d_date_sk AND d3.d_year IN (1999, 2000, 2001)
GROUP BY i_item_id, i_item_desc, s_store_id, s_store_name
ORDER BY i_item_id, i_item_desc, s_store_id, s_store_name
LIMIT 100;

-- q61
SELECT promotions, total, promotions / total * 100 AS percent
FROM (
  SELECT CAST(SUM(ss_ext_sales_price) AS DOUBLE) AS promotions
  FROM store_sales, store, promotion, date_dim, customer, customer_address, item
  WHERE ss_sold_date_sk = d_date_sk AND ss_store_sk = s_store_sk AND ss_promo_sk = p_promo_sk
    AND ss_customer_sk = c_customer_sk AND ca_address_sk = c_current_addr_sk
    AND ss_item_sk = i_item_sk AND ca_gmt_offset = -5 AND i_category = 'Jewelry'
    AND (p_channel_dmail = 'Y' OR p_channel_email = 'Y' OR p_channel_tv = 'Y')
    AND s_gmt_offset = -5 AND d_year = 1998 AND d_moy = 11) AS promotional_sales,
  (SELECT CAST(SUM(ss_ext_sales_price) AS DOUBLE) AS total
  FROM store_sales, store, date_dim, customer, customer_address, item
  WHERE ss_sold_date_sk = d_date_sk AND ss_store_sk = s_store_sk
    AND ss_customer_sk = c_customer_sk AND ca_address_sk = c_current_addr_sk
    AND ss_item_sk = i_item_sk AND ca_gmt_offset = -5 AND i_category = 'Jewelry'
    AND s_gmt_offset = -5 AND d_year = 1998 AND d_moy = 11) AS all_sales;

-- q88
WITH sales AS (
  SELECT t_hour, t_minute >= 30 AS late
  FROM store_sales, household_demographics, time_dim, store
  WHERE ss_sold_time_sk = t_time_sk AND ss_hdemo_sk = hd_demo_sk AND ss_store_sk = s_store_sk
    AND s_store_name = 'ese'
    AND ((hd_dep_count = 4 AND hd_vehicle_count <= 6) OR (hd_dep_count = 2 AND hd_vehicle_count <= 4)
      OR (hd_dep_count = 0 AND hd_vehicle_count <= 2))
)
SELECT COUNT(*) FILTER (t_hour = 8 AND late) AS h8_30,
  COUNT(*) FILTER (t_hour = 9 AND NOT late) AS h9_00, COUNT(*) FILTER (t_hour = 9 AND late) AS h9_30,
  COUNT(*) FILTER (t_hour = 10 AND NOT late) AS h10_00,
  COUNT(*) FILTER (t_hour = 10 AND late) AS h10_30,
  COUNT(*) FILTER (t_hour = 11 AND NOT late) AS h11_00,
  COUNT(*) FILTER (t_hour = 11 AND late) AS h11_30,
  COUNT(*) FILTER (t_hour = 12 AND NOT late) AS h12_00
FROM sales;

-- q92
SELECT SUM(ws_ext_discount_amt) AS excess_discount_amount
FROM web_sales, item, date_dim
WHERE i_manufact_id = 350 AND i_item_sk = ws_item_sk AND d_date_sk = ws_sold_date_sk
  AND d_date BETWEEN CAST('2000-01-27' AS DATE) AND CAST('2000-04-26' AS DATE)
  AND ws_ext_discount_amt > (
    SELECT 1.3 * AVG(ws_ext_discount_amt) FROM web_sales, date_dim
    WHERE ws_item_sk = i_item_sk AND d_date_sk = ws_sold_date_sk
      AND d_date BETWEEN CAST('2000-01-27' AS DATE) AND CAST('2000-04-26' AS DATE));
