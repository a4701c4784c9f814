"""Every tracker on every scenario: one table, with its forecast table and figure."""
