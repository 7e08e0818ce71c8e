//! What runs at the customer.
