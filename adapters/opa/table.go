package opa

import (
	"context"
	"encoding/json"
	"fmt"

	"github.com/open-policy-agent/opa/v1/rego"

	"github.com/aiaas/aiaas/shared/authz"
)

// Table is what the policy says of every role and action, for those who decide
// without an engine.
type Table struct {
	Actions      map[authz.Action]authz.Scope                `json:"actions"`
	Ranks        map[authz.Role]int                          `json:"ranks"`
	Everybody    map[authz.Action]authz.Width                `json:"everybody"`
	Customizable []authz.Action                              `json:"customizable"`
	Narrowable   []authz.Action                              `json:"narrowable"`
	Sensitive    []authz.Action                              `json:"sensitive_actions"`
	RoleRights   map[authz.Role]map[authz.Action]authz.Width `json:"role_rights"`
	ProjectRoles map[authz.ProjectRole][]authz.Action        `json:"project_role_rights"`
	Reaches      map[authz.Role]map[authz.Action]authz.Width `json:"-"` // what everybody has, included
	GrantedBy    map[authz.Action][]authz.Role               `json:"-"`
}

// ReadTable computes the table.
func ReadTable(ctx context.Context) (Table, error) {
	var t Table
	modules, err := Modules()
	if err != nil {
		return t, err
	}
	if err := document(ctx, modules, root, map[string]any{}, &t); err != nil {
		return t, err
	}
	engine, err := prepare(ctx, root+".action_reach", modules)
	if err != nil {
		return t, err
	}
	t.Reaches, t.GrantedBy = map[authz.Role]map[authz.Action]authz.Width{}, map[authz.Action][]authz.Role{}
	for role := range t.RoleRights {
		t.Reaches[role] = map[authz.Action]authz.Width{}
		for action := range t.Actions {
			rs, err := engine.Eval(ctx, rego.EvalInput(map[string]any{"action": string(action), "subject": map[string]any{"role": string(role)}}))
			if err != nil || len(rs) != 1 {
				return t, fmt.Errorf("evaluate %s of %s: %w", action, role, err)
			}
			if w, _ := rs[0].Expressions[0].Value.(string); w != "" {
				t.Reaches[role][action] = authz.Width(w)
			}
		}
	}
	return t, t.grantors(ctx, modules)
}

func (t *Table) grantors(ctx context.Context, modules map[string]string) error {
	for action := range t.Actions {
		var roles []authz.Role
		if err := document(ctx, modules, root+".granted_by", map[string]any{"action": string(action)}, &roles); err != nil {
			return err
		}
		t.GrantedBy[action] = roles
	}
	return nil
}

func document(ctx context.Context, modules map[string]string, path string, in any, out any) error {
	q, err := prepare(ctx, path, modules)
	if err != nil {
		return err
	}
	rs, err := q.Eval(ctx, rego.EvalInput(in))
	if err != nil {
		return fmt.Errorf("evaluate policy: %w", err)
	}
	if len(rs) != 1 {
		return errUndefined
	}
	raw, err := json.Marshal(rs[0].Expressions[0].Value)
	if err != nil {
		return fmt.Errorf("read policy: %w", err)
	}
	if err := json.Unmarshal(raw, out); err != nil {
		return fmt.Errorf("read policy: %w", err)
	}
	return nil
}
