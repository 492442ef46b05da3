package factor_test

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/pquerna/otp"
	"github.com/pquerna/otp/totp"

	"github.com/aiaas/aiaas/shared/audit"
	"github.com/aiaas/aiaas/shared/authz"
	"github.com/aiaas/aiaas/shared/factor"
	"github.com/aiaas/aiaas/shared/factor/factortest"
	"github.com/aiaas/aiaas/shared/fault"
	"github.com/aiaas/aiaas/shared/id"
	"github.com/aiaas/aiaas/shared/mail"
	"github.com/aiaas/aiaas/shared/session"
	"github.com/aiaas/aiaas/shared/throttle"
)

const (
	ann = "user_0199c0b2f3a47c1e8d6a5b4c3d2e1f00"
	bob = "user_0199c0b2f3a47c1e8d6a5b4c3d2e1f01"
)

// world is a service on a store in memory: Ann is a developer of org_1 and what the
// test says of org_2, Bob a developer of org_1.
type world struct {
	*factor.Service

	t       *testing.T
	store   *factortest.Memory
	guesses *guesses
	keys    *keys
	now     time.Time

	ended    []string // whose weak sessions, and which one not
	weakened []string // whose sessions count as without a factor again
}

func newWorld(t *testing.T, role authz.Role, named ...authz.Role) *world {
	t.Helper()
	in := factor.Membership{OrgID: "org_1", Name: "One", Role: authz.Developer}
	w := &world{t: t, now: time.Date(2026, 11, 2, 10, 0, 10, 0, time.UTC), guesses: &guesses{left: 1000}, keys: &keys{domain: "example.com"}}
	w.store = factortest.NewMemory(
		factor.State{UserID: ann, Email: "ann@example.com", Memberships: []factor.Membership{in, {OrgID: "org_2", Name: "Two", Role: role, MFARoles: named}}},
		factor.State{UserID: bob, Email: "bob@example.com", Memberships: []factor.Membership{in}},
	)
	w.Service = &factor.Service{
		Store: w.store, WebAuthn: w.keys, Vault: vault{}, Guesses: w.guesses, Sessions: sessions{w}, Now: func() time.Time { return w.now },
	}
	return w
}

// principal is Ann in a session of org_2 in which she has proved herself just now.
func (w *world) principal() authz.Principal {
	return authz.Principal{
		OrgID: "org_2", KeyID: "ses_1", OwnerID: ann, Role: authz.Developer, Method: authz.BySession, Means: "password", MFA: true, ProvedAt: w.now, Address: "192.0.2.7",
	}
}

// guesses counts those that nobody took back.
type guesses struct {
	left int
	keys throttle.Keys
}

func (g *guesses) Take(_ context.Context, kind throttle.Kind, k throttle.Keys) error {
	if g.left == 0 || kind != throttle.Factor {
		return fault.New(fault.RateLimited, "too many").After(time.Minute)
	}
	g.left, g.keys = g.left-1, k
	return nil
}

func (g *guesses) Succeeded(context.Context, throttle.Kind, throttle.Keys) error {
	g.left++
	return nil
}

// vault seals so that a test can see what it is bound to.
type vault struct{}

func (vault) Seal(plain, bound string) (string, error) { return bound + "|" + plain, nil }

func (vault) Open(sealed, bound string) (string, error) {
	plain, ok := strings.CutPrefix(sealed, bound+"|")
	if !ok {
		return "", fmt.Errorf("not bound to %s", bound)
	}
	return plain, nil
}

type sessions struct{ w *world }

func (s sessions) Prove(_ context.Context, org, sessionID string, means session.Means, mfa bool) (session.Opened, error) {
	return session.Opened{
		Session: session.Session{ID: sessionID, OrgID: org, Means: means, MFA: mfa, ProvedAt: s.w.now}, Token: "aiaas_session_new",
	}, nil
}

func (s sessions) EndWeak(_ context.Context, userID, exceptID, _ string) error {
	s.w.ended = append(s.w.ended, userID+" but "+exceptID)
	return nil
}

func (s sessions) Weaken(_ context.Context, userID string) error {
	s.w.weakened = append(s.w.weakened, userID)
	return nil
}

// keys are passkeys that sign by saying so: {"answers": state, "owner", "key", "count"}.
type keys struct {
	domain string
	n      int
}

type said struct {
	Answers string
	Owner   string
	Key     string
	Count   uint32
}

func (k *keys) RPID() string { return k.domain }

func (k *keys) begin() (factor.Begun, error) {
	k.n++
	state, err := json.Marshal(fmt.Sprint("challenge ", k.n))
	return factor.Begun{Options: state, State: state}, err
}

func (k *keys) Register(factor.State) (factor.Begun, error) { return k.begin() }
func (k *keys) Ask(*factor.State) (factor.Begun, error)     { return k.begin() }

func (k *keys) read(a factor.Answer) (s said, err error) {
	var challenge string
	if err := json.Unmarshal(a.State, &challenge); err != nil {
		return s, err
	}
	if err := json.Unmarshal(a.Credential, &s); err != nil || s.Answers != challenge {
		return s, fault.New(fault.Unauthenticated, "it answers something else")
	}
	return s, nil
}

func (k *keys) Registered(_ factor.State, a factor.Answer) (factor.Passkey, error) {
	s, err := k.read(a)
	return factor.Passkey{RPID: k.domain, CredentialID: []byte(s.Key), Record: json.RawMessage(`{}`), SignCount: s.Count}, err
}

func (k *keys) Owner(credential json.RawMessage) (string, error) {
	var s said
	err := json.Unmarshal(credential, &s)
	return s.Owner, err
}

func (k *keys) Verify(of factor.State, a factor.Answer) (factor.Used, error) {
	s, err := k.read(a)
	if err != nil {
		return factor.Used{}, err
	}
	for _, key := range of.Passkeys {
		if string(key.CredentialID) == s.Key && s.Owner == of.UserID {
			used := factor.Used{PasskeyID: key.ID, SignCount: s.Count, Record: key.Record}
			if s.Count <= key.SignCount && key.SignCount+s.Count > 0 {
				return used, factor.ErrCopied
			}
			return used, nil
		}
	}
	return factor.Used{}, fault.New(fault.Unauthenticated, "no such key")
}

func sign(t *testing.T, ceremony string, options json.RawMessage, s said) factor.PasskeyProof {
	t.Helper()
	if err := json.Unmarshal(options, &s.Answers); err != nil {
		t.Fatal(err)
	}
	credential, err := json.Marshal(s)
	if err != nil {
		t.Fatal(err)
	}
	return factor.PasskeyProof{Ceremony: ceremony, Credential: credential}
}

// code is what an app with the secret shows at a moment.
func code(t *testing.T, secret string, at time.Time) string {
	t.Helper()
	text, err := totp.GenerateCodeCustom(secret, at, totp.ValidateOpts{Period: 30, Digits: otp.DigitsSix, Algorithm: otp.AlgorithmSHA1})
	if err != nil {
		t.Fatal(err)
	}
	return text
}

// enrolTOTP gives Ann an app, and lets a step go by.
func (w *world) enrolTOTP() (secret string, out factor.Enrolled) {
	w.t.Helper()
	e, err := w.StartTOTP(w.t.Context(), w.principal())
	if err != nil {
		w.t.Fatal(err)
	}
	if out, err = w.ConfirmTOTP(w.t.Context(), w.principal(), code(w.t, e.Secret, w.now), "d"); err != nil {
		w.t.Fatal(err)
	}
	w.now = w.now.Add(factor.Step)
	return e.Secret, out
}

// enrolPasskey gives Ann a passkey.
func (w *world) enrolPasskey(name string, count uint32) (factor.Passkey, factor.Enrolled) {
	w.t.Helper()
	ceremony, options, err := w.StartPasskey(w.t.Context(), w.principal())
	if err != nil {
		w.t.Fatal(err)
	}
	key, out, err := w.AddPasskey(w.t.Context(), w.principal(), factor.NewPasskey{Name: name, Proof: sign(w.t, ceremony, options, said{Key: name, Count: count})})
	if err != nil {
		w.t.Fatal(err)
	}
	return key, out
}

func (w *world) prove(p factor.Proof) error {
	return w.Prove(w.t.Context(), ann, p, factor.From{OrgID: "org_2", Address: "192.0.2.7", Device: "d"})
}

func (w *world) methods() string {
	w.t.Helper()
	list, err := w.Methods(w.t.Context(), ann)
	if err != nil {
		w.t.Fatal(err)
	}
	return strings.Trim(fmt.Sprint(list), "[]")
}

func TestAnAppCountsFromItsFirstCodeOn(t *testing.T) {
	t.Parallel()
	w := newWorld(t, authz.Developer)
	e, err := w.StartTOTP(t.Context(), w.principal())
	if err != nil {
		t.Fatal(err)
	}
	key, err := otp.NewKeyFromURL(e.URI)
	if err != nil || key.Secret() != e.Secret || key.Issuer() != "AIaaS" || key.AccountName() != "ann@example.com" || key.Period() != 30 || len(e.Secret) != 32 {
		t.Errorf("the app is brought %q, %v", e.URI, err)
	}
	if !strings.HasPrefix(string(e.PNG), "\x89PNG") {
		t.Error("there is no picture")
	}
	if got := w.methods(); got != "" {
		t.Errorf("before its first code: %s", got)
	}
	if err := w.prove(factor.Proof{TOTP: code(t, e.Secret, w.now)}); !fault.Is(err, fault.Unauthenticated) {
		t.Errorf("a code of an app that waits proves: %v", err)
	}
	if _, err := w.ConfirmTOTP(t.Context(), w.principal(), "000000", "d"); !fault.Is(err, fault.Unprocessable) {
		t.Errorf("a wrong first code: %v", err)
	}
	out, err := w.ConfirmTOTP(t.Context(), w.principal(), code(t, e.Secret, w.now), "d")
	if err != nil {
		t.Fatal(err)
	}
	if got := w.methods(); got != "totp recovery_code" {
		t.Errorf("with an app: %s", got)
	}
	if !out.Session.MFA || out.Session.Token == "" || out.Session.ID != "ses_1" || out.Session.Means != session.Password {
		t.Errorf("the session is %+v", out.Session)
	}
	if err := w.prove(factor.Proof{TOTP: code(t, e.Secret, w.now)}); !fault.Is(err, fault.Unauthenticated) {
		t.Errorf("the first code is good twice: %v", err)
	}
	if _, err := w.ConfirmTOTP(t.Context(), w.principal(), code(t, e.Secret, w.now), "d"); !fault.Is(err, fault.Conflict) {
		t.Errorf("confirmed twice: %v", err)
	}
}

func TestAnEnrolmentEnds(t *testing.T) {
	t.Parallel()
	w := newWorld(t, authz.Developer)
	e, err := w.StartTOTP(t.Context(), w.principal())
	if err != nil {
		t.Fatal(err)
	}
	w.now = w.now.Add(factor.EnrolFor + time.Second)
	if _, err := w.ConfirmTOTP(t.Context(), w.principal(), code(t, e.Secret, w.now), "d"); !fault.Is(err, fault.Conflict) {
		t.Errorf("it is confirmed later: %v", err)
	}
}

func TestWhichCodesAreGood(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name  string
		steps int // that the app's clock is off
		form  func(string) string
		good  bool
	}{
		{"of this step", 0, nil, true},
		{"of the step before", -1, nil, true},
		{"of the step after", 1, nil, true},
		{"of two steps before", -2, nil, false},
		{"of two steps after", 2, nil, false},
		{"with a space, as apps show it", 0, func(s string) string { return s[:3] + " " + s[3:] }, true},
		{"with a digit too few", 0, func(s string) string { return s[1:] }, false},
		{"with a digit too many", 0, func(s string) string { return s + "0" }, false},
		{"with another digit", 0, func(s string) string { return s[:5] + string('0'+(s[5]-'0'+1)%10) }, false},
		{"with a letter", 0, func(s string) string { return s[:5] + "a" }, false},
		{"with a NUL", 0, func(s string) string { return s[:5] + "\x00" }, false},
		{"in other digits", 0, func(string) string { return "١٢٣٤٥٦" }, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, authz.Developer)
			secret, _ := w.enrolTOTP()
			w.now = w.now.Add(5 * factor.Step)
			text := code(t, secret, w.now.Add(time.Duration(c.steps)*factor.Step))
			if c.form != nil {
				text = c.form(text)
			}
			err := w.prove(factor.Proof{TOTP: text})
			if c.good != (err == nil) || !c.good && !fault.Is(err, fault.Unauthenticated) {
				t.Errorf("%q: %v", text, err)
			}
			if err := w.prove(factor.Proof{TOTP: text}); !fault.Is(err, fault.Unauthenticated) {
				t.Errorf("%q, again: %v", text, err)
			}
		})
	}
}

func TestAfterALaterCodeAnEarlierOneIsNotGood(t *testing.T) {
	t.Parallel()
	w := newWorld(t, authz.Developer)
	secret, _ := w.enrolTOTP()
	w.now = w.now.Add(5 * factor.Step)
	if err := w.prove(factor.Proof{TOTP: code(t, secret, w.now.Add(factor.Step))}); err != nil {
		t.Fatal(err)
	}
	if err := w.prove(factor.Proof{TOTP: code(t, secret, w.now)}); !fault.Is(err, fault.Unauthenticated) {
		t.Errorf("%v", err)
	}
}

func TestRecoveryCodesStandInOnceEach(t *testing.T) {
	t.Parallel()
	w := newWorld(t, authz.Developer)
	_, out := w.enrolTOTP()
	codes := out.RecoveryCodes
	if len(codes) != 10 || len(slices.Compact(slices.Sorted(slices.Values(codes)))) != 10 {
		t.Fatalf("codes %v", codes)
	}
	for _, c := range codes {
		if letters := strings.ReplaceAll(c, "-", ""); len(letters) != 16 || len(c) != 19 { // 80 bits
			t.Errorf("a code is %q", c)
		}
	}
	typed := strings.ToUpper(strings.NewReplacer("-", " ", "0", "O", "1", "l").Replace(codes[0]))
	for _, c := range []struct {
		text string
		good bool
	}{{typed, true}, {codes[0], false}, {codes[1], true}, {codes[1], false}, {"", false}, {codes[2][:18], false}, {strings.Repeat("0", 5000), false}} {
		err := w.prove(factor.Proof{RecoveryCode: c.text})
		if c.text == "" && !fault.Is(err, fault.Unprocessable) || c.text != "" && (err == nil) != c.good {
			t.Errorf("%q: %v", c.text, err)
		}
	}
	if err := w.Prove(t.Context(), bob, factor.Proof{RecoveryCode: codes[3]}, factor.From{}); !fault.Is(err, fault.Unauthenticated) {
		t.Errorf("Ann's code is good for Bob: %v", err)
	}
	fresh, err := w.ReplaceCodes(t.Context(), w.principal())
	if err != nil || len(fresh) != 10 {
		t.Fatalf("%v, %v", fresh, err)
	}
	if err := w.prove(factor.Proof{RecoveryCode: codes[4]}); !fault.Is(err, fault.Unauthenticated) {
		t.Errorf("a code that was replaced: %v", err)
	}
	if err := w.prove(factor.Proof{RecoveryCode: fresh[0]}); err != nil {
		t.Error(err)
	}
	for i := 1; i < 10; i++ {
		if err := w.prove(factor.Proof{RecoveryCode: fresh[i]}); err != nil {
			t.Error(err)
		}
	}
	if got := w.methods(); got != "totp" {
		t.Errorf("when all were used: %s", got)
	}
}

func TestAProofIsExactlyOne(t *testing.T) {
	t.Parallel()
	w := newWorld(t, authz.Developer)
	for _, p := range []factor.Proof{{}, {TOTP: "1", RecoveryCode: "2"}, {TOTP: "1", Passkey: &factor.PasskeyProof{}}, {RecoveryCode: "1", Passkey: &factor.PasskeyProof{}}} {
		if err := w.prove(p); !fault.Is(err, fault.Unprocessable) {
			t.Errorf("%+v: %v", p, err)
		}
	}
}

func TestGuessesAreBoundedAndUsesAreNot(t *testing.T) {
	t.Parallel()
	w := newWorld(t, authz.Developer)
	secret, out := w.enrolTOTP()
	w.guesses.left = 3
	for range 5 { // right ones are given back
		w.now = w.now.Add(factor.Step)
		if err := w.prove(factor.Proof{TOTP: code(t, secret, w.now)}); err != nil {
			t.Fatal(err)
		}
	}
	if want := (throttle.Keys{Account: ann, Address: "192.0.2.7", Device: "d"}); w.guesses.keys != want {
		t.Errorf("counted by %+v; want %+v", w.guesses.keys, want)
	}
	if err := w.prove(factor.Proof{RecoveryCode: out.RecoveryCodes[0]}); err != nil {
		t.Fatal(err)
	}
	e, err := w.StartTOTP(t.Context(), w.principal())
	if err != nil {
		t.Fatal(err)
	}
	wrong := []func() error{
		func() error { return w.prove(factor.Proof{TOTP: "000000"}) },
		func() error { return w.prove(factor.Proof{RecoveryCode: strings.Repeat("0", 16)}) },
		func() error { _, err := w.ConfirmTOTP(t.Context(), w.principal(), "000000", "d"); return err },
	}
	for _, guess := range wrong {
		if err := guess(); err == nil || fault.Is(err, fault.RateLimited) {
			t.Errorf("a guess: %v", err)
		}
	}
	w.now = w.now.Add(factor.Step)
	for i, right := range []func() error{
		func() error { return w.prove(factor.Proof{TOTP: code(t, secret, w.now)}) },
		func() error { return w.prove(factor.Proof{RecoveryCode: out.RecoveryCodes[1]}) },
		func() error {
			_, err := w.ConfirmTOTP(t.Context(), w.principal(), code(t, e.Secret, w.now), "d")
			return err
		},
	} {
		if err := right(); !fault.Is(err, fault.RateLimited) {
			t.Errorf("right one %d after too many guesses: %v", i, err)
		}
	}
}

func TestAPasskeyProvesByItsCeremonyOnce(t *testing.T) {
	t.Parallel()
	w := newWorld(t, authz.Developer)
	if _, _, err := w.Options(t.Context(), ann); !fault.Is(err, fault.Unauthenticated) {
		t.Errorf("options without a passkey: %v", err)
	}
	key, out := w.enrolPasskey("laptop", 0)
	if len(out.RecoveryCodes) != 10 || !out.Session.MFA || w.methods() != "passkey recovery_code" {
		t.Errorf("with the first passkey: %d codes, %+v, %s", len(out.RecoveryCodes), out.Session, w.methods())
	}
	ask := func(userID string) (string, json.RawMessage) {
		t.Helper()
		ceremony, options, err := w.Options(t.Context(), userID)
		if err != nil {
			t.Fatal(err)
		}
		return ceremony, options
	}
	own := said{Owner: ann, Key: "laptop"}
	ceremony, options := ask(ann)
	proof := sign(t, ceremony, options, own)
	if err := w.Prove(t.Context(), bob, factor.Proof{Passkey: &proof}, factor.From{}); !fault.Is(err, fault.Unauthenticated) {
		t.Errorf("Bob proves himself by it: %v", err)
	}
	if _, err := w.ProvePasskey(t.Context(), proof, factor.From{}); !fault.Is(err, fault.Unauthenticated) {
		t.Errorf("a second factor is a whole sign-in: %v", err)
	}
	if err := w.prove(factor.Proof{Passkey: &proof}); err != nil {
		t.Error(err)
	}
	if err := w.prove(factor.Proof{Passkey: &proof}); !fault.Is(err, fault.Unauthenticated) {
		t.Errorf("replayed: %v", err)
	}
	if st, _ := w.store.Load(t.Context(), ann); !st.Passkeys[0].LastUsedAt.Equal(w.now) || st.Passkeys[0].ID != key.ID {
		t.Errorf("kept %+v", st.Passkeys)
	}

	ceremony, options = ask("")
	proof = sign(t, ceremony, options, own)
	if err := w.prove(factor.Proof{Passkey: &proof}); !fault.Is(err, fault.Unauthenticated) {
		t.Errorf("a ceremony for anybody is a second factor: %v", err)
	}
	if who, err := w.ProvePasskey(t.Context(), proof, factor.From{}); err != nil || who != ann {
		t.Errorf("%q signs in, %v", who, err)
	}
	if _, err := w.ProvePasskey(t.Context(), proof, factor.From{}); !fault.Is(err, fault.Unauthenticated) {
		t.Errorf("replayed: %v", err)
	}

	for name, c := range map[string]said{
		"of nobody": {Key: "laptop"}, "of Bob": {Owner: bob, Key: "laptop"}, "unknown": {Owner: ann, Key: "other"},
		"of one who is not there": {Owner: id.New(id.User), Key: "laptop"}, "with a NUL": {Owner: "user_\x00", Key: "laptop"},
	} {
		ceremony, options := ask("")
		if _, err := w.ProvePasskey(t.Context(), sign(t, ceremony, options, c), factor.From{}); !fault.Is(err, fault.Unauthenticated) {
			t.Errorf("a passkey %s: %v", name, err)
		}
	}
	ceremony, options = ask(ann)
	w.now = w.now.Add(factor.CeremonyFor)
	late := sign(t, ceremony, options, own)
	if err := w.prove(factor.Proof{Passkey: &late}); !fault.Is(err, fault.Unauthenticated) {
		t.Errorf("too late: %v", err)
	}
}

func TestACopyOfAPasskeyIsRefusedAndTold(t *testing.T) {
	t.Parallel()
	w := newWorld(t, authz.Developer)
	w.enrolPasskey("laptop", 7)
	for _, c := range []struct {
		count uint32
		good  bool
	}{{7, false}, {6, false}, {8, true}, {8, false}} {
		ceremony, options, err := w.Options(t.Context(), ann)
		if err != nil {
			t.Fatal(err)
		}
		notes := len(w.store.Notes)
		proof := sign(t, ceremony, options, said{Owner: ann, Key: "laptop", Count: c.count})
		err = w.prove(factor.Proof{Passkey: &proof})
		if (err == nil) != c.good || !c.good && !fault.Is(err, fault.Unauthenticated) {
			t.Errorf("count %d: %v", c.count, err)
		}
		if told := len(w.store.Notes) > notes; told == c.good {
			t.Errorf("count %d: its owner is told is %v", c.count, told)
		}
	}
	last := w.store.Records[len(w.store.Records)-1]
	if last.Action != factor.ActionPasskeyRefused || last.Outcome != audit.Denied || last.OrgID != "org_2" || last.Actor != ann || last.Address != "192.0.2.7" {
		t.Errorf("recorded %+v", last)
	}
}

func TestTheLastFactorStaysWhereARoleNeedsOne(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		role   authz.Role
		named  []authz.Role
		forced bool
	}{
		"owner":                          {authz.Owner, nil, true},
		"admin":                          {authz.Admin, nil, true},
		"finance":                        {authz.Finance, nil, true},
		"one of the platform":            {authz.Support, nil, true},
		"manager":                        {authz.Manager, nil, false},
		"manager, as the one org wants":  {authz.Manager, []authz.Role{authz.Manager}, true},
		"a role that the org made":       {authz.Custom, nil, false},
		"a role of the org, as it wants": {authz.Custom, []authz.Role{authz.Custom}, true},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, c.role, c.named...)
			p := w.principal()
			p.OrgID = "org_1" // the role is one in another organisation
			w.enrolTOTP()
			if o, err := w.Overview(t.Context(), p); err != nil || (len(o.RequiredBy) > 0) != c.forced || o.TOTPSince.IsZero() || o.Codes.Left != 10 {
				t.Errorf("overview %+v, %v", o, err)
			}
			if err := w.RemoveTOTP(t.Context(), p); fault.Is(err, fault.Conflict) != c.forced || (err != nil) != c.forced {
				t.Errorf("the app is the last factor: %v", err)
			}
			if !c.forced && w.methods() != "" {
				t.Errorf("without a factor: %s", w.methods())
			}
			key, _ := w.enrolPasskey("laptop", 0)
			if c.forced {
				if err := w.RemoveTOTP(t.Context(), p); err != nil {
					t.Errorf("beside a passkey: %v", err)
				}
			}
			if err := w.RemovePasskey(t.Context(), p, key.ID); (err != nil) != c.forced {
				t.Errorf("the passkey is the last factor: %v", err)
			}
			other, _ := w.enrolPasskey("phone", 0)
			if c.forced {
				if err := w.RemovePasskey(t.Context(), p, key.ID); err != nil {
					t.Errorf("beside another: %v", err)
				}
			}
			w.keys.domain = "example.org" // of which there is none
			if err := w.RemovePasskey(t.Context(), p, other.ID); !fault.Is(err, fault.NotFound) {
				t.Errorf("a passkey of another domain: %v", err)
			}
		})
	}
}

func TestAnAppBesidePasskeysOfAnotherDomainIsTheLastFactor(t *testing.T) {
	t.Parallel()
	w := newWorld(t, authz.Owner)
	w.enrolPasskey("laptop", 0)
	w.enrolTOTP()
	w.keys.domain = "example.org"
	if err := w.RemoveTOTP(t.Context(), w.principal()); !fault.Is(err, fault.Conflict) {
		t.Errorf("%v", err)
	}
}

func TestOnlyTheOwnerInARecentLocalSessionChangesFactors(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		edit   func(*authz.Principal)
		reason string
		read   bool // the overview is shown all the same
	}{
		"a key":                                 {func(p *authz.Principal) { p.Method = authz.ByKey }, "person", false},
		"a service account":                     {func(p *authz.Principal) { p.Method, p.OwnerID = authz.ByClient, "sa_1" }, "person", false},
		"a program that was given a token":      {func(p *authz.Principal) { p.Method = authz.ByToken }, "person", false},
		"single sign-on":                        {func(p *authz.Principal) { p.Means = "sso" }, "sso", true},
		"a session that proved itself long ago": {func(p *authz.Principal) { p.ProvedAt = p.ProvedAt.Add(-16 * time.Minute) }, "step_up", true},
		"a session without the second factor":   {func(p *authz.Principal) { p.MFA = false }, "step_up", true},
		"nobody":                                {func(p *authz.Principal) { *p = authz.Principal{} }, "", false},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, authz.Developer)
			w.enrolTOTP()
			key, _ := w.enrolPasskey("laptop", 0)
			p := w.principal()
			c.edit(&p)
			before := len(w.store.Records)
			for call, do := range map[string]func() error{
				"start app":     func() error { _, err := w.StartTOTP(t.Context(), p); return err },
				"confirm app":   func() error { _, err := w.ConfirmTOTP(t.Context(), p, "000000", "d"); return err },
				"remove app":    func() error { return w.RemoveTOTP(t.Context(), p) },
				"replace codes": func() error { _, err := w.ReplaceCodes(t.Context(), p); return err },
				"start passkey": func() error { _, _, err := w.StartPasskey(t.Context(), p); return err },
				"add passkey":   func() error { _, _, err := w.AddPasskey(t.Context(), p, factor.NewPasskey{Name: "n"}); return err },
				"rename":        func() error { _, err := w.RenamePasskey(t.Context(), p, key.ID, "n"); return err },
				"remove":        func() error { return w.RemovePasskey(t.Context(), p, key.ID) },
			} {
				want := fault.Forbidden
				if c.reason == "" {
					want = fault.Unauthenticated
				}
				err := do()
				if !fault.Is(err, want) || c.reason != "" && fault.From(err).Members["reason"] != c.reason {
					t.Errorf("%s: %v", call, err)
				}
			}
			if _, err := w.Overview(t.Context(), p); (err == nil) != c.read {
				t.Errorf("overview: %v", err)
			}
			if len(w.store.Records) != before {
				t.Error("something was changed")
			}
		})
	}
}

func TestPasskeysAreNamedAndBounded(t *testing.T) {
	t.Parallel()
	w := newWorld(t, authz.Developer)
	ceremony, options, err := w.StartPasskey(t.Context(), w.principal())
	if err != nil {
		t.Fatal(err)
	}
	proof := sign(t, ceremony, options, said{Key: "laptop"})
	for _, name := range []string{"", " x", "a\u202eb", strings.Repeat("x", 101)} {
		if _, _, err := w.AddPasskey(t.Context(), w.principal(), factor.NewPasskey{Name: name, Proof: proof}); !fault.Is(err, fault.Unprocessable) {
			t.Errorf("%q: %v", name, err)
		}
	}
	key, _, err := w.AddPasskey(t.Context(), w.principal(), factor.NewPasskey{Name: "laptop", Proof: proof})
	if err != nil {
		t.Fatal(err)
	}
	for name, p := range map[string]factor.PasskeyProof{
		"replayed": proof, "of no ceremony": {Ceremony: id.New(factor.CeremonyID), Credential: proof.Credential}, "without one": {},
		"too long": {Ceremony: ceremony, Credential: []byte(strings.Repeat(" ", 40<<10))},
	} {
		if _, _, err := w.AddPasskey(t.Context(), w.principal(), factor.NewPasskey{Name: "x", Proof: p}); !fault.Is(err, fault.Unprocessable) {
			t.Errorf("%s: %v", name, err)
		}
	}
	renamed, err := w.RenamePasskey(t.Context(), w.principal(), key.ID, "work")
	if list, _ := w.Passkeys(t.Context(), w.principal()); err != nil || renamed.Name != "work" || len(list) != 1 || list[0].Name != "work" {
		t.Errorf("%+v %+v %v", renamed, list, err)
	}
	for i := 1; i < factor.MaxPasskeys; i++ {
		if _, out := w.enrolPasskey(fmt.Sprint(i), 0); out.RecoveryCodes != nil {
			t.Error("recovery codes are shown again")
		}
	}
	if _, _, err := w.StartPasskey(t.Context(), w.principal()); !fault.Is(err, fault.Conflict) {
		t.Errorf("one too many: %v", err)
	}
}

func TestEveryChangeIsRecordedAndToldToTheOwner(t *testing.T) {
	t.Parallel()
	w := newWorld(t, authz.Developer)
	secret, out := w.enrolTOTP()
	key, _ := w.enrolPasskey("laptop", 0)
	w.enrolTOTP()
	if err := w.prove(factor.Proof{RecoveryCode: out.RecoveryCodes[0]}); err != nil {
		t.Fatal(err)
	}
	if _, err := w.ReplaceCodes(t.Context(), w.principal()); err != nil {
		t.Fatal(err)
	}
	if _, err := w.RenamePasskey(t.Context(), w.principal(), key.ID, "work"); err != nil {
		t.Fatal(err)
	}
	if err := w.RemovePasskey(t.Context(), w.principal(), key.ID); err != nil {
		t.Fatal(err)
	}
	if err := w.RemoveTOTP(t.Context(), w.principal()); err != nil {
		t.Fatal(err)
	}
	var actions, told []string
	for _, r := range w.store.Records {
		actions = append(actions, r.Action)
		if r.OrgID != "org_2" || r.Actor != ann || r.Address != "192.0.2.7" || r.At.IsZero() || r.Detail == nil {
			t.Errorf("%s: %+v", r.Action, r)
		}
		if text := fmt.Sprint(slices.Sorted(maps.Keys(r.Detail)), r.Detail); strings.Contains(text, secret) || strings.Contains(text, out.RecoveryCodes[0]) {
			t.Errorf("%s has a secret: %s", r.Action, text)
		}
	}
	for _, n := range w.store.Notes {
		var c mail.FactorChanged
		if err := json.Unmarshal(n.Content, &c); err != nil {
			t.Fatal(err)
		}
		told = append(told, string(c.Change))
		if n.Kind != mail.KindFactorChanged || n.UserID != ann || n.OrgID != "org_2" || c.Address != "192.0.2.7" {
			t.Errorf("%s: %+v", c.Change, n)
		}
	}
	if want := "totp.start totp.confirm passkey.create totp.start totp.confirm recovery_code.use recovery_codes.replace passkey.update passkey.delete totp.delete"; strings.Join(actions, " ") != want {
		t.Errorf("recorded %v", actions)
	}
	if want := "totp_added passkey_added totp_replaced recovery_code_used recovery_codes_renewed passkey_removed totp_removed"; strings.Join(told, " ") != want {
		t.Errorf("told %v", told)
	}
}

func TestRecordsGoToAnOrganisationThatThePersonBelongsTo(t *testing.T) {
	t.Parallel()
	for said, want := range map[string]string{"": "org_1", "org_2": "org_2", "org_9": "org_1"} {
		w := newWorld(t, authz.Developer)
		_, out := w.enrolTOTP()
		if err := w.Prove(t.Context(), ann, factor.Proof{RecoveryCode: out.RecoveryCodes[0]}, factor.From{OrgID: said}); err != nil {
			t.Fatal(err)
		}
		if got := w.store.Records[len(w.store.Records)-1].OrgID; got != want {
			t.Errorf("from %q: recorded in %q", said, got)
		}
	}
}

// A session that has shown no factor is worth nothing once there is one, and one that
// has shown a factor counts as without again when the last one has gone.
func TestWhatSessionsAreWorthFollowsTheFactors(t *testing.T) {
	t.Parallel()
	w := newWorld(t, authz.Developer)
	weak := w.principal()
	weak.MFA = false
	if _, err := w.StartTOTP(t.Context(), weak); err != nil {
		t.Fatalf("the first factor of a session without: %v", err)
	}
	w.enrolTOTP()
	if want := []string{ann + " but ses_1"}; !slices.Equal(w.ended, want) {
		t.Errorf("ended %v; want %v", w.ended, want)
	}
	key, _ := w.enrolPasskey("laptop", 0)
	if err := w.RemoveTOTP(t.Context(), w.principal()); err != nil || len(w.weakened) != 0 {
		t.Errorf("one of two removed: %v, %v", err, w.weakened)
	}
	if err := w.RemovePasskey(t.Context(), w.principal(), key.ID); err != nil || !slices.Equal(w.weakened, []string{ann}) {
		t.Errorf("the last one removed: %v, %v", err, w.weakened)
	}
}
