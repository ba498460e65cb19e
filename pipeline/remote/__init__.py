"""Transfer recordings and outputs at URLs, and cache local copies."""
