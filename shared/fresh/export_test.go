package fresh

// MaxEntries bounds a cache.
const MaxEntries = maxEntries

// Len is how many entries the cache has.
func (c *Cache[K, V]) Len() int {
	c.mu.RLock()
	defer c.mu.RUnlock()
	return len(c.entries)
}
