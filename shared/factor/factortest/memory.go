// Package factortest is the conformance suite of [factor.Store], and a store in memory
// that passes it, for tests of the rules.
package factortest

import (
	"bytes"
	"context"
	"slices"
	"sync"
	"time"

	"github.com/aiaas/aiaas/shared/audit"
	"github.com/aiaas/aiaas/shared/factor"
	"github.com/aiaas/aiaas/shared/fault"
	"github.com/aiaas/aiaas/shared/mail"
)

// Memory keeps factors in memory.
type Memory struct {
	mu         sync.Mutex
	people     map[string]*person
	ceremonies map[string]factor.Ceremony

	Records []audit.Record // of the changes, in their order
	Notes   []mail.Note    // that would be sent
}

type person struct {
	state factor.State
	codes []code
}

type code struct {
	hash []byte
	used bool
}

var _ factor.Store = (*Memory)(nil)

// NewMemory makes a store that knows people; of their states it takes who they are,
// and what they are members of.
func NewMemory(people ...factor.State) *Memory {
	m := &Memory{people: map[string]*person{}, ceremonies: map[string]factor.Ceremony{}}
	for _, p := range people {
		m.people[p.UserID] = &person{state: factor.State{UserID: p.UserID, Email: p.Email, Memberships: p.Memberships}}
	}
	return m
}

// Load implements [factor.Store].
func (m *Memory) Load(_ context.Context, userID string) (factor.State, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	p, ok := m.people[userID]
	if !ok {
		return factor.State{}, errNobody()
	}
	return p.load(), nil
}

func errNobody() error { return fault.New(fault.NotFound, "there is no such person") }

// load copies, so that who reads changes nothing.
func (p *person) load() factor.State {
	st := p.state
	if st.TOTP != nil {
		t := *st.TOTP
		st.TOTP = &t
	}
	if st.Pending != nil {
		t := *st.Pending
		st.Pending = &t
	}
	st.Passkeys = slices.Clone(st.Passkeys)
	for _, c := range p.codes {
		if !c.used {
			st.Codes.Left++
		}
	}
	return st
}

// Change implements [factor.Store].
func (m *Memory) Change(_ context.Context, userID string, edit func(factor.State) (factor.Change, error)) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	p, ok := m.people[userID]
	if !ok {
		return errNobody()
	}
	c, err := edit(p.load())
	if err != nil {
		return err
	}
	if err := m.apply(p, c); err != nil {
		return err
	}
	if c.Audit != nil {
		m.Records = append(m.Records, *c.Audit)
	}
	if c.Note != nil {
		m.Notes = append(m.Notes, *c.Note)
	}
	return nil
}

// apply first does what may refuse.
func (m *Memory) apply(p *person, c factor.Change) error {
	if err := p.passkeys(m, c); err != nil {
		return err
	}
	if c.Confirm != nil {
		if p.state.Pending == nil || p.state.Pending.ID != c.Confirm.ID {
			return fault.New(fault.Conflict, "no authenticator app waits for its first code")
		}
		t := *p.state.Pending
		t.ConfirmedAt, t.LastStep = c.Confirm.At, c.Confirm.Step
		p.state.TOTP, p.state.Pending = &t, nil
	}
	if c.UseCode != nil {
		i := slices.IndexFunc(p.codes, func(k code) bool { return !k.used && bytes.Equal(k.hash, c.UseCode) })
		if i < 0 {
			return fault.New(fault.Unauthenticated, "it is none, or was used")
		}
		p.codes[i].used = true
	}
	if c.RemoveTOTP {
		p.state.TOTP, p.state.Pending = nil, nil
	}
	if c.Start != nil {
		t := *c.Start
		p.state.Pending = &t
	}
	if c.ReplaceCodes != nil {
		p.replace(*c.ReplaceCodes)
	}
	return nil
}

func (p *person) replace(n factor.NewCodes) {
	p.codes, p.state.Codes.CreatedAt = nil, time.Time{}
	for _, h := range n.Hashes {
		p.codes, p.state.Codes.CreatedAt = append(p.codes, code{hash: h}), n.At
	}
}

func (p *person) passkeys(m *Memory, c factor.Change) error {
	if k := c.AddPasskey; k != nil {
		for _, other := range m.people {
			if slices.ContainsFunc(other.state.Passkeys, func(o factor.Passkey) bool {
				return o.RPID == k.RPID && bytes.Equal(o.CredentialID, k.CredentialID)
			}) {
				return fault.New(fault.Conflict, "this passkey is registered already")
			}
		}
		p.state.Passkeys = append(p.state.Passkeys, *k)
	}
	for _, id := range []string{c.RemovePasskey, renamed(c)} {
		if id != "" && p.find(id) < 0 {
			return fault.New(fault.NotFound, "there is no such passkey")
		}
	}
	if i := p.find(renamed(c)); i >= 0 {
		p.state.Passkeys[i].Name = c.RenamePasskey.Name
	}
	if i := p.find(c.RemovePasskey); i >= 0 {
		p.state.Passkeys = slices.Delete(p.state.Passkeys, i, i+1)
	}
	return nil
}

func renamed(c factor.Change) string {
	if c.RenamePasskey == nil {
		return ""
	}
	return c.RenamePasskey.ID
}

func (p *person) find(id string) int {
	return slices.IndexFunc(p.state.Passkeys, func(k factor.Passkey) bool { return k.ID == id })
}

// UseStep implements [factor.Store].
func (m *Memory) UseStep(_ context.Context, userID, totpID string, step int64) (bool, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	p, ok := m.people[userID]
	if !ok || p.state.TOTP == nil || p.state.TOTP.ID != totpID || p.state.TOTP.LastStep >= step {
		return false, nil
	}
	p.state.TOTP.LastStep = step
	return true, nil
}

// UsePasskey implements [factor.Store].
func (m *Memory) UsePasskey(_ context.Context, userID string, u factor.Used) (bool, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	p, ok := m.people[userID]
	if !ok {
		return false, nil
	}
	i := p.find(u.PasskeyID)
	if i < 0 {
		return false, nil
	}
	k := &p.state.Passkeys[i]
	if u.SignCount <= k.SignCount && (u.SignCount != 0 || k.SignCount != 0) {
		return false, nil
	}
	k.SignCount, k.Record, k.LastUsedAt = u.SignCount, u.Record, u.At
	return true, nil
}

// KeepCeremony implements [factor.Store].
func (m *Memory) KeepCeremony(_ context.Context, c factor.Ceremony) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.ceremonies[c.ID] = c
	return nil
}

// TakeCeremony implements [factor.Store].
func (m *Memory) TakeCeremony(_ context.Context, c factor.Ceremony, now time.Time) (factor.Ceremony, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	kept, ok := m.ceremonies[c.ID]
	if !ok || kept.Purpose != c.Purpose || kept.UserID != c.UserID || !now.Before(kept.ExpiresAt) {
		return factor.Ceremony{}, fault.New(fault.NotFound, "there is no such ceremony")
	}
	delete(m.ceremonies, c.ID)
	return kept, nil
}
