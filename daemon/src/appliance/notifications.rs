//! Who is told: answers about the settings, and what became of deliveries.

use std::time::Instant;

use berth_format::{Code, Name, Refusal};

use super::Appliance;
use crate::api::{Result, internal};
use crate::engine::Engine;
use crate::host::Host;
use crate::notify::settings::MOST;
use crate::notify::{
    Announcement, Delivery, Letter, Notifications, NotifyError, Receiver, ReceiverStatus, Tested,
    deliver,
};

impl<E: Engine, H: Host> Appliance<E, H> {
    pub(super) fn answer_notifications(&self) -> Result<Notifications> {
        let store = &self.0.store;
        let waiting = store.waiting().map_err(internal)?;
        let all = store.receivers().map_err(internal)?;
        let receivers = all.into_iter().map(|(name, receiver)| {
            let status = ReceiverStatus {
                receiver: receiver.shown(),
                waiting: waiting.get(&name).copied().unwrap_or_default(),
                last: store.last_delivery(&name).map_err(internal)?,
            };
            Ok((name, status))
        });
        Ok(Notifications {
            receivers: receivers.collect::<Result<_>>()?,
        })
    }

    pub(super) fn answer_set_receiver(
        &self,
        name: &Name,
        receiver: Option<&Receiver>,
    ) -> Result<Notifications> {
        let store = &self.0.store;
        let all = store.receivers().map_err(internal)?;
        match receiver {
            Some(receiver) => {
                receiver.check().map_err(|error| error.refusal())?;
                if all.len() >= MOST && !all.contains_key(name) {
                    let found = NotifyError::Unusable(format!("{MOST} receivers are set already"));
                    return Err(found.refusal());
                }
            }
            None if all.contains_key(name) => {
                // The last one that is told goes only where the policy does not rely on him.
                if all.len() == 1 {
                    store.policy().map_err(internal)?.check(false)?;
                }
            }
            None => return Err(no_such(name)),
        }
        store.set_receiver(name, receiver).map_err(internal)?;
        self.0.outbox.wake();
        self.answer_notifications()
    }

    pub(super) async fn answer_test(&self, only: Option<&Name>) -> Result<Vec<Tested>> {
        let mut all = self.0.store.receivers().map_err(internal)?;
        if let Some(only) = only {
            all.retain(|name, _| name == only);
            if all.is_empty() {
                return Err(no_such(only));
            }
        }
        if all.is_empty() {
            return Err(Refusal::new(
                Code::NotifyMissing,
                Code::NotifyMissing.means(),
            ));
        }
        let letter = Letter::new(&Announcement::test(), self.sender(), self.0.host.now());
        let each = all.into_iter().map(async |(name, receiver)| {
            let begun = Instant::now();
            let delivered = deliver(&receiver, &letter).await;
            Tested {
                receiver: name,
                millis: u64::try_from(begun.elapsed().as_millis()).unwrap_or(u64::MAX),
                refusal: delivered.err().map(|error| error.refusal()),
            }
        });
        Ok(futures_util::future::join_all(each).await)
    }

    pub(super) fn answer_deliveries(&self, limit: u32) -> Result<Vec<Delivery>> {
        self.0.store.deliveries(limit).map_err(internal)
    }
}

fn no_such(name: &Name) -> Refusal {
    Refusal::new(Code::NotFound, format!("nobody of the name {name} is told"))
        .next("Look at `berth notify`.")
}
