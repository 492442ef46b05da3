// Package tenant holds what other domains need to know of an organisation and
// its projects: status, limits, currency and time zone.
package tenant

// Limits are rates and concurrency; 0 means no limit.
type Limits struct {
	RequestsPerMinute  int64
	TokensPerMinute    int64
	ConcurrentRequests int64
}

// Status is the state of an organisation.
type Status string

// The states.
const (
	Active    Status = "active"
	Trial     Status = "trial"
	Suspended Status = "suspended"
	Closed    Status = "closed"
)

// Serves reports whether an organisation in this state may use its keys.
func (s Status) Serves() bool { return s == Active || s == Trial }

// DefaultPriceBook is the id of the price book that every platform starts with.
const DefaultPriceBook = "default"

// Plan is a named set of default limits.
type Plan string

// The plans.
const (
	Starter    Plan = "starter"    // 100 requests/min and 10 concurrent for a key
	SelfHosted Plan = "selfhosted" // no default limits: the operator's own organisation
)

// KeyDefaults are the limits of a key that sets none itself.
func (p Plan) KeyDefaults() Limits {
	if p == Starter {
		return Limits{RequestsPerMinute: 100, ConcurrentRequests: 10}
	}
	return Limits{}
}
