package postgres

import (
	"fmt"
	"sync"
	"time"
	_ "time/tzdata" // hosts without zone files: the zones of organisations must be the same everywhere
)

// zones parses time zones once each: the standard library reads and decodes the
// zone's file at every call. The number of zones is that of the zone database.
type zones struct{ known sync.Map }

func (z *zones) load(name string) (*time.Location, error) {
	if loc, ok := z.known.Load(name); ok {
		return loc.(*time.Location), nil //nolint:errcheck,forcetypeassert // only locations are stored
	}
	loc, err := time.LoadLocation(name)
	if err != nil {
		return nil, fmt.Errorf("load time zone: %w", err)
	}
	z.known.Store(name, loc)
	return loc, nil
}
