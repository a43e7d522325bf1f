package main

import (
	"bytes"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"net/http"
	"time"
)

type Record struct {
	Scope string `json:"scope"`
	Mode  string `json:"mode"`
}

func sign(host, secret string, body []byte) string {
	nonce := make([]byte, 16)
	rand.Read(nonce)
	now, mac := time.Now().Unix(), hmac.New(sha256.New, []byte(secret))
	fmt.Fprintf(mac, "v2\nPOST\n%s\n/__strata/purge\n%d\n%x\n%s", host, now, nonce, body)
	return fmt.Sprintf("v=2,t=%d,n=%x,s=%x", now, nonce, mac.Sum(nil))
}

func stay(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }

func send(site, secret string, body []byte) (status int, err error) {
	request, err := http.NewRequest("POST", site+"/__strata/purge", bytes.NewReader(body))
	if err != nil {
		return 0, err
	}
	request.Header.Set("Strata-Signature", sign(request.URL.Host, secret, body))
	answer, err := (&http.Client{Timeout: 10 * time.Second, CheckRedirect: stay}).Do(request)
	if err != nil {
		return 503, err
	}
	return answer.StatusCode, answer.Body.Close()
}

func Purge(site, secret string, records ...Record) error {
	body, _ := json.Marshal(map[string]any{"v": 1, "records": records})
	for wait := 250 * time.Millisecond; ; wait *= 2 {
		status, err := send(site, secret, body)
		if status == 200 {
			return nil
		} else if wait > 8*time.Second || status < 500 && status != 429 {
			return fmt.Errorf("purge: status %d, %v", status, err)
		}
		time.Sleep(wait)
	}
}
