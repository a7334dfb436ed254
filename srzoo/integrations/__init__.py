"""srzoo within other packages: one module for each, which is imported only by those who use that package."""
