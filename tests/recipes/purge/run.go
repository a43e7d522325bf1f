package main

import (
	"log"
	"os"
)

func main() {
	var records []Record
	for _, scope := range os.Args[3:] {
		records = append(records, Record{scope, os.Args[2]})
	}
	if err := Purge(os.Args[1], os.Getenv("PURGE_SECRET"), records...); err != nil {
		log.Fatal(err)
	}
}
