"""What people look at: pictures, plots, tables, the page about a run, and the doctor."""
