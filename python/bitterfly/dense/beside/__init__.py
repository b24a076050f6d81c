"""What is stored beside window codes: outliers and a head before them, a correction of low rank after them."""
